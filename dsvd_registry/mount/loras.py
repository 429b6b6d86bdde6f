"""The LoRA files of a mount: those that were added, as they are, and exports made on opening.

Exports need torch, which the program of a mount does without: they are planned and made by a process
of its own, which ends with the work.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..cache import Cache
from ..catalog import VersionRecord
from ..errors import DsvdError
from ..export import LoraForm
from ..hashing import sha256_file
from ..registry import Registry
from ..registry.results.lora_files import CheckedFile, LoraMaker, OwnProcess

FORM = '{"lora":"fp16"}'
"""The key of cached sizes of exports in the catalog; canonical JSON, as for other forms of a result."""


@dataclass(frozen=True)
class LoraFile:
    """A version as a LoRA file. `original`: the SHA-256 of the file added; None for an export."""

    ending: str
    size: int
    original: str | None


class Loras:
    """The LoRA files of a registry. Several threads may use it."""

    def __init__(self, registry: Registry, catalog: str | None, cache: Cache) -> None:
        self._registry, self._maker = registry, LoraMaker(registry.name, catalog, cache)
        self._making = threading.Lock()
        self._endings: dict[str, str] = {}

    def of_versions(
        self, versions: Sequence[VersionRecord], log: Callable[[str], None]
    ) -> dict[str, LoraFile]:
        """The LoRA file of each version that has one, by ref. `log`: takes why another has none."""
        catalog = self._registry.repository.catalog
        exports = [version for version in versions if version.original is None]
        known = catalog.cached_listings({(version.container, FORM) for version in exports})
        new = [version for version in exports if (version.container, FORM) not in known]
        if new:
            with OwnProcess() as process:
                sizes, reasons = process.call(self._maker.planned_sizes, tuple(new))
            for ref, reason in reasons.items():
                log(f"{ref} is left out of loras: {reason}")
            found = {(v.container, FORM): json.dumps(sizes[v.ref]) for v in new if v.ref in sizes}
            catalog.remember_listings(found)
            known |= found
        files: dict[str, LoraFile] = {}
        for version in versions:
            if version.original is not None:
                sha256, size = version.source.sha256, version.source.size
                try:
                    files[version.ref] = LoraFile(self._ending(sha256), size, sha256)
                except DsvdError as error:
                    log(f"{version.ref} is left out of loras: {error}")
            else:
                size = json.loads(known.get((version.container, FORM), "null"))
                if isinstance(size, int):
                    files[version.ref] = LoraFile(".safetensors", size, None)
        return files

    def _ending(self, sha256: str) -> str:
        """The ending that loaders know the kind of an original by."""
        if sha256 not in self._endings:
            with contextlib.closing(self._registry.repository.objects.open(sha256)) as file:
                # A safetensors file is a length and then JSON, a file of torch an archive or a pickle.
                is_safetensors = file.read(0, 9)[8:] == b"{"
            self._endings[sha256] = ".safetensors" if is_safetensors else ".pt"
        return self._endings[sha256]

    def open(self, version: VersionRecord, file: LoraFile) -> CheckedFile:
        """Open a LoRA file; an export is made if the cache lacks it. Raises `DsvdError`."""
        objects = self._registry.repository.objects
        if file.original is not None:
            path = objects.local_file(file.original)
            return CheckedFile(path, file.size, file.original, f"the original of {version.ref}")
        with self._making:
            with OwnProcess() as process:
                path = process.call(self._maker.make, version, LoraForm(), file.size)
            return CheckedFile(path, file.size, sha256_file(path), f"the LoRA of {version.ref}")
