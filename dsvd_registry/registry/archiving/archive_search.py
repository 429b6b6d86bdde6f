"""The search of a folder for files that can be archived, and for those that stay."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG

from ...catalog import BaseRecord
from ...checkpoint import Checkpoint, open_checkpoint
from ...checkpoint.folder import is_checkpoint_folder
from ...encoding.request import LosslessRequest
from ...errors import DsvdError, InvalidArgument, StorageError
from ...fs import storage_errors
from ...lora import is_lora
from ...progress import FILES, silent
from ..adding.add_request import AddRequest, add_request
from ..adding.best_base import best_base, check_has_base
from ..adding.fingerprint import file_sha256
from ..adding.input_files import ENDINGS
from ..adding.known_models import named_files
from ..repository import Repository
from ..results.output import needed_by_registry
from .archive_plan import ArchiveOptions, ArchivePlan, PlannedFile, Staying

# Bytes of container and residual over those of the file, as measured (docs/when-to-use.md, "Figures").
LOSSLESS_SHARES = {"F32": 0.433, "F16": 0.148, "BF16": 0.093}
# Bytes of a LoRA's container at most: over those of the file, and for each tensor of its base. All
# that were measured took less (0.5 to 1.1, and 44); the file itself is kept beside it.
LORA_SHARE, LORA_TENSOR_BYTES = 1.25, 64
KEPT_FORMAT = "safetensors"  # the one of which a version can give back every byte


def plan_archive(folder: Path, options: ArchiveOptions, repository: Repository) -> ArchivePlan:
    """Find the files below `folder` that can be archived; see `Registry.plan_archive`."""
    link_to = options.get("link_to")
    progress = options.get("progress", silent)
    is_lossy = any(options.get(name) is not None for name in ("tau", "max_error", "budget"))
    options.setdefault("lossless", not is_lossy)
    request = add_request(options, repository)
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - follows no link
    with storage_errors(folder):
        if not folder.is_dir():
            raise InvalidArgument(f"{folder} is not a folder", "Give the folder to archive.")
    mount = None if link_to is None else _mounted(Path(link_to))
    if request.base is None:
        check_has_base(repository.catalog.bases())
    search = _Search(request, repository, with_loras=options.get("loras", True))
    paths = list(search.paths(folder))
    for number, path in enumerate(paths):
        progress(FILES, number, len(paths))
        search.examine(path)
    names = named_files([file.path for file in search.files], request.names, repository)
    return ArchivePlan(
        folder,
        request,
        mount,
        tuple(
            replace(file, model=named.model)
            for file, named in zip(search.files, names, strict=True)
        ),
        tuple(search.staying),
        search.others,
    )


def _mounted(link_to: Path) -> Path:
    link_to = Path(os.path.abspath(link_to))  # noqa: PTH100
    with storage_errors(link_to):
        if not (link_to / "checkpoints").is_dir():
            raise InvalidArgument(
                f"{link_to} is not a mounted registry: it has no folder checkpoints",
                "Mount the registry there first: `dsvd mount`.",
            )
    return link_to


class _Search:
    """The search of a folder: what was found so far."""

    def __init__(self, request: AddRequest, repository: Repository, *, with_loras: bool) -> None:
        self._request, self._repository, self._with_loras = request, repository, with_loras
        self._archived = {file.path: file for file in repository.catalog.archived_files()}
        self._bases = repository.catalog.bases()
        self._given_back = {
            (version.source.size, version.source.sha256): version.base
            for version in repository.catalog.versions()
            if version.is_lossless
        }
        self._given_sizes = {size for size, _ in self._given_back}
        self.files: list[PlannedFile] = []
        self.staying: list[Staying] = []
        self.others = 0

    def paths(self, folder: Path) -> Iterator[Path]:
        """The files below `folder` that may be checkpoints, by path."""
        for place, folders, names in os.walk(folder):
            here = Path(place)
            for name in sorted(folders):
                below = here / name
                if name.startswith(".") or below.is_symlink():
                    folders.remove(name)
                    continue
                reason = needed_by_registry(below, self._repository)
                if reason is None and is_checkpoint_folder(below):
                    reason = "is a folder of several files, and only single files are archived"
                if reason is not None:
                    folders.remove(name)
                    self.staying.append(Staying(below, reason))
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(ENDINGS) and not name.startswith("."):
                    yield here / name
                else:
                    self.others += 1

    def examine(self, path: Path) -> None:
        """Put a file among those that can be archived, or among those that stay."""
        try:
            reason = self._reason(path)
            if reason is None:
                self.files.append(self._candidate(path))
            else:
                self.staying.append(Staying(path, reason))
        except _Stays as stays:
            self.staying.append(Staying(path, str(stays), stays.hint))
        except DsvdError as error:
            self.staying.append(Staying(path, str(error), error.hint, error.exit_code))

    def _reason(self, path: Path) -> str | None:
        """The reason why a file stays, as far as its entry in the folder tells it."""
        try:
            str(path).encode()
        except UnicodeEncodeError:
            return "has a name that is not Unicode"
        with storage_errors(path):
            status = path.lstat()
            if path.is_symlink():
                known = self._archived.get(path)
                is_ours = known is not None and known.link == path.readlink()
                return "is archived already" if is_ours else "is a symbolic link"
        if not S_ISREG(status.st_mode):
            return "is not a plain file"
        if status.st_nlink > 1:
            return f"has {status.st_nlink} names (hard links): to delete one frees no room"
        if not os.access(path.parent, os.W_OK):
            return "is in a folder that may not be written to"
        return needed_by_registry(path, self._repository)

    def _candidate(self, path: Path) -> PlannedFile:
        """Raises `_Stays` for a file that no version gives back, `DsvdError`."""
        repository, request = self._repository, self._request
        try:
            checkpoint = open_checkpoint(path, request.weights)
        except StorageError:
            raise
        except DsvdError as error:
            raise _Stays(f"is not a checkpoint that can be read: {error}") from error
        with checkpoint:
            is_a_lora = is_lora(checkpoint.tensors)
            if not is_a_lora and checkpoint.format != KEPT_FORMAT:
                raise _Stays("would come back as a safetensors file, not as the file that it is")
            size = path.stat().st_size
            share = None if is_a_lora else self._share(checkpoint)
        for known in self._bases:
            if known.size == size and known.file == file_sha256(path, repository.catalog):
                raise _Stays(f"is the base {known.name}")
        kept_for = self._kept_for(path, size)
        if is_a_lora and kept_for is None and not self._with_loras:
            raise _Stays(
                "is a LoRA, which would take more room than it frees",
                "Leave --no-loras out to archive LoRA files too.",
            )
        base = self._base(path)
        stored: float | None
        if kept_for == base.digest and (is_a_lora or request.lossless):
            stored = 0
        elif is_a_lora:
            tensors = len(repository.manifest(base).tensors)
            stored = size + LORA_SHARE * size + LORA_TENSOR_BYTES * tensors
        else:
            stored = None if share is None else share * size
        return PlannedFile(
            path,
            size,
            model="",
            base=base.name,
            is_lora=is_a_lora,
            is_exact=is_a_lora or request.lossless,
            stored_bytes=None if stored is None else round(stored),
        )

    def _kept_for(self, path: Path, size: int) -> str | None:
        """The digest of the base of a version that gives the file back already; None without one."""
        if size not in self._given_sizes:  # nothing is hashed for nothing
            return None
        return self._given_back.get((size, file_sha256(path, self._repository.catalog)))

    def _share(self, checkpoint: Checkpoint) -> float | None:
        if not isinstance(self._request.fidelity, LosslessRequest):
            return None
        sizes: Counter[str] = Counter()
        for tensor in checkpoint.tensors.values():
            sizes[tensor.dtype] += tensor.nbytes
        shares = [LOSSLESS_SHARES.get(dtype, 1.0) * size for dtype, size in sizes.items()]
        return sum(shares) / max(1, sum(sizes.values()))

    def _base(self, path: Path) -> BaseRecord:
        if self._request.base is not None:
            return self._request.base
        match = best_base(path, self._bases, self._repository, self._request.weights)
        return self._repository.catalog.base(match.sure())


class _Stays(Exception):
    """The reason why a file is not archived, and what to do about it."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint
