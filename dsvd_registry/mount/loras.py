"""The LoRA files of a mount: those that were added, as they are, and exports made on opening.

Exports need torch, which the program of a mount does without: they are planned and made by a process of
its own, which ends with the work.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .. import fs
from ..catalog import VersionRecord
from ..errors import DsvdError, RegistryError, StorageError
from ..hashing import sha256_file
from ..registry import Registry
from ..registry.results.cache import Cache

if TYPE_CHECKING:
    from ..checkpoint.checkpoint import Memory

_P = ParamSpec("_P")
_T = TypeVar("_T")

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
        self._registry, self._catalog, self._cache = registry, catalog, cache
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
            refs = tuple(version.ref for version in new)
            sizes, reasons = _elsewhere(_planned, str(self._registry.folder), self._catalog, refs)
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
            path = self._registry.repository.objects.path(sha256)
            with fs.storage_errors(path), path.open("rb") as file:
                # A safetensors file is a length and then JSON, a file of torch an archive or a pickle.
                is_safetensors = file.read(9)[8:] == b"{"
            self._endings[sha256] = ".safetensors" if is_safetensors else ".pt"
        return self._endings[sha256]

    def open(self, version: VersionRecord, file: LoraFile) -> CheckedFile:
        """Open a LoRA file; an export is made if the cache lacks it. Raises `DsvdError`."""
        objects = self._registry.repository.objects
        if file.original is not None:
            path = objects.path(file.original)
            return CheckedFile(path, file.size, file.original, f"the original of {version.ref}")
        folder, limit = str(self._cache.folder), self._cache.limit
        with self._making:
            path = _elsewhere(
                _exported,
                *(str(self._registry.folder), self._catalog, version.ref, file.size, folder, limit),
            )
            return CheckedFile(path, file.size, sha256_file(path), f"the LoRA of {version.ref}")


class CheckedFile:
    """An open file, of which each part is compared with what it was when all of it was hashed."""

    def __init__(self, path: Path, size: int, sha256: str, description: str) -> None:
        """Raises `RegistryError` for a file that has another SHA-256, `StorageError`."""
        from ..reconstruction.checked_bytes import checked_copier

        with fs.storage_errors(path):
            self._descriptor = os.open(path, os.O_RDONLY)
        self._size, self._path = size, path

        def damaged(found: str) -> DsvdError:
            return RegistryError(f"{description}, {path}, is damaged: its SHA-256 is {found}")

        try:
            self._copy = checked_copier(self._plain, size, sha256, damaged)
        except BaseException:
            self.close()
            raise

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer at the end. Raises `RegistryError` for damage."""
        import numpy as np

        memory = np.empty(max(0, min(size, self._size - offset)), np.uint8)
        self._copy(offset, memory)
        return memory.tobytes()

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _plain(self, first: int, memory: Memory) -> None:
        with fs.storage_errors(self._path):
            done = os.preadv(self._descriptor, [memory.data], first)
        if done != len(memory):
            raise StorageError(f"{self._path} has become shorter", "Restore it from a copy.")


def _elsewhere(work: Callable[_P, _T], *words: _P.args, **named: _P.kwargs) -> _T:
    """Call a function in a process of its own, which is gone when this returns."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(work, *words, **named).result()


def _planned(
    folder: str, catalog: str | None, refs: tuple[str, ...]
) -> tuple[dict[str, int | None], dict[str, str]]:
    """The sizes of exports by ref, None for a version that has none; and what kept a size from us."""
    from ..registry.results.lora_export import planned_lora_size

    sizes: dict[str, int | None] = {}
    reasons: dict[str, str] = {}
    with Registry.open(folder, catalog=catalog) as registry:
        for ref in refs:
            try:
                sizes[ref] = planned_lora_size(registry.version(ref), registry.repository)
            except DsvdError as error:
                reasons[ref] = str(error)
    return sizes, reasons


def _exported(
    folder: str, catalog: str | None, ref: str, size: int, cache: str, limit: int
) -> Path:
    from ..registry.results.lora_export import cached_lora

    with Registry.open(folder, catalog=catalog) as registry:
        version = registry.version(ref)
        return cached_lora(version, size, registry.repository, Cache(Path(cache), limit))
