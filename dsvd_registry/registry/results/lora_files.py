"""LoRA files for those who hand out files: made by a process of their own, checked as they are read.

Exports need torch, which a mount and a server do without.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ... import fs
from ...cache import Cache
from ...catalog import VersionRecord
from ...closing import Closing, MadeOnce
from ...errors import DsvdError, RegistryError, StorageError
from ...export import LoraForm

if TYPE_CHECKING:
    from ...checkpoint.checkpoint import Memory

_P = ParamSpec("_P")
_T = TypeVar("_T")


class OwnProcess(Closing):
    """A process for the work that needs torch. It begins with the first call, and ends with `close`.

    Several threads may use it; it does one thing after another.
    """

    def __init__(self) -> None:
        self._pool = MadeOnce(_Pool)

    def call(self, work: Callable[_P, _T], *words: _P.args, **named: _P.kwargs) -> _T:
        """Call a function there. Raises what it raises, and `StorageError` if the process ends."""
        try:
            return self._pool.get().executor.submit(work, *words, **named).result()
        except BrokenProcessPool as error:
            self._pool.close()  # the next call begins another
            raise StorageError(
                "the process that makes LoRA files was ended", "Give it more memory, and try again."
            ) from error

    def close(self) -> None:
        self._pool.close()


class _Pool(Closing):
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(1, context, _live_with_parent)

    def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)


def _live_with_parent() -> None:
    """End this process with its parent, however that ends, and leave interrupts to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@dataclass(frozen=True)
class LoraMaker:
    """The things that making LoRA files of a registry needs: its name, its catalog, the cache."""

    registry: str
    catalog: str | None
    cache: Cache

    def make(self, version: VersionRecord, form: LoraForm, size: int | None = None) -> Path:
        """The LoRA of a version in the cache, made if it is not there; see `cached_lora`."""
        from ..registry import Registry
        from .lora_export import cached_lora

        with Registry.open(self.registry, catalog=self.catalog) as registry:
            return cached_lora(version, form, size, registry.repository, self.cache)

    def planned_sizes(
        self, versions: tuple[VersionRecord, ...]
    ) -> tuple[dict[str, int | None], dict[str, str]]:
        """The sizes of exports by ref, None for a version that has none; and what kept one from us."""
        from ..registry import Registry
        from .lora_export import planned_lora_size

        sizes: dict[str, int | None] = {}
        reasons: dict[str, str] = {}
        with Registry.open(self.registry, catalog=self.catalog) as registry:
            for version in versions:
                try:
                    sizes[version.ref] = planned_lora_size(version, registry.repository)
                except DsvdError as error:
                    reasons[version.ref] = str(error)
        return sizes, reasons


class CheckedFile(Closing):
    """An open file, of which each part is compared with what it was when all of it was hashed."""

    def __init__(self, path: Path, size: int, sha256: str, description: str) -> None:
        """Raises `RegistryError` for a file that has another SHA-256, `StorageError`."""
        from ...reconstruction.checked_bytes import checked_copier

        with fs.storage_errors(path):
            self._descriptor = os.open(path, os.O_RDONLY)
        self.size, self.sha256, self._path = size, sha256, path

        def damaged(found: str) -> DsvdError:
            return RegistryError(f"{description}, {path}, is damaged: its SHA-256 is {found}")

        try:
            self._copy = checked_copier(self._plain, size, sha256, damaged)
        except BaseException:
            self.close()
            raise

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer at the end. Raises `RegistryError` for damage."""
        return bytes(self.view_at(offset, size))

    def view_at(self, offset: int, size: int) -> memoryview:
        """The bytes of `read_at`, without another copy."""
        import numpy as np

        memory = np.empty(max(0, min(size, self.size - offset)), np.uint8)
        self._copy(offset, memory)
        return memory.data

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _plain(self, first: int, memory: Memory) -> None:
        with fs.storage_errors(self._path):
            done = os.preadv(self._descriptor, [memory.data], first)
        if done != len(memory):
            raise StorageError(f"{self._path} has become shorter", "Restore it from a copy.")
