"""Drafts: containers of a fine-tune in a temporary folder, for pictures before anything is stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import fs
from ..catalog import BaseRecord
from ..checkpoint import open_checkpoint
from ..container.reader import Container
from ..encoding.fine_tune import FineTune
from ..encoding.request import TauRequest
from ..encoding.store_fine_tune import store_fine_tune
from ..errors import InvalidArgument
from ..hashing import Source
from ..lora import is_lora
from ..progress import Progress
from ..reconstruction.lazy_tensors import torch_tensor
from ..reconstruction.reconstruction import Reconstruction
from ..registry import Registry
from ..registry.accounts.curve import curve_of_version
from ..registry.adding.fingerprint import source_of
from ..store import ObjectStore, registry_folder
from .source_tensors import SourceTensors


@dataclass(frozen=True)
class TauDraft:
    """A container at `tau` that no registry has.

    `sha256`: of the `file`. `source`: the SHA-256 of the checkpoint.
    """

    file: Path
    sha256: str
    source: str
    tau: float


@dataclass(frozen=True)
class Drafts:
    """The drafts of the checkpoint at `source` in the temporary `folder`.

    `weights`: the entry of a torch file that has several. `keep_extras`: see `AddOptions`.
    """

    folder: Path
    source: Path
    base: BaseRecord
    device: str
    weights: str | None
    keep_extras: bool
    registry: Registry
    progress: Progress

    def encoded(self, request: TauRequest) -> TauDraft:
        """Encode the checkpoint as `dsvd add` would.

        Raises `CheckpointError`, `BaseMismatch`, `StorageError`, and `InvalidArgument` for a LoRA file.
        """
        catalog = self.registry.repository.catalog
        objects = ObjectStore(registry_folder.RegistryFolder(self.folder))
        with (
            open_checkpoint(self.source, self.weights, keep_extras=self.keep_extras) as checkpoint,
            self.registry.repository.open_base(self.base) as weights,
        ):
            if is_lora(checkpoint.tensors):
                raise InvalidArgument(
                    f"{self.source} is a LoRA file, which is stored in full unless a tau is given",
                    "Leave --until out.",
                )
            digest, size = source_of(checkpoint, catalog, self.progress)
            source = Source(checkpoint.format, digest, size)
            fine_tune = FineTune.of(checkpoint, source, weights)
            stored = store_fine_tune(fine_tune, request, self.device, objects, self.progress)
        return TauDraft(objects.local_file(stored.sha256), stored.sha256, digest, request.tau)

    def size(self, draft: TauDraft, tau: float) -> int:
        """The bytes of a draft that are read for a tau. Raises `ContainerError`, `StorageError`."""
        with Container(draft.file) as container:
            (point,) = curve_of_version(str(self.source), self.base.name, container, [tau]).points
        assert point.size is not None
        return point.size


@contextlib.contextmanager
def drafts_folder(registry: Registry) -> Iterator[Path]:
    """A temporary folder for drafts on the registry's disk, removed on leaving.

    Raises `StorageError`.
    """
    tmp = registry.repository.home.tmp
    fs.make_folder(tmp)
    with fs.new_folder(tmp) as folder:
        registry_folder.begin(folder.path / "drafts")
        yield folder.path / "drafts"


@contextlib.contextmanager
def open_draft(
    file: Path, base: BaseRecord, tau: float, registry: Registry
) -> Iterator[SourceTensors]:
    """Open the tensors that a draft gives at a tau.

    Raises `BaseMismatch`, `ContainerError`, `TauNotServed`.
    """
    with Container(file) as container, registry.repository.open_base(base) as weights:
        result = Reconstruction(container, weights, tau)
        yield SourceTensors(result.infos, lambda name: torch_tensor(result, name))
