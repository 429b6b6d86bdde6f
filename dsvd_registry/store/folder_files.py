"""The files of a registry in a local folder: they are at hand, and nothing is copied."""

from __future__ import annotations

import stat
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from .. import fs, hashing
from ..errors import NotFound
from ..fs import Bytes
from ..ranged_file import DiskFile
from .folder_backend import FolderBackend, state_of
from .home import Found


class FolderFiles:
    """The files below the folder of a registry. See `Files`."""

    def __init__(self, backend: FolderBackend) -> None:
        self._backend = backend

    def open(self, key: str) -> DiskFile:
        return DiskFile(self._there(key))

    def chunks(self, key: str) -> Generator[Bytes, None, None]:
        yield from hashing.file_chunks(self._there(key))

    def values(self, keys: Iterable[str], most: int) -> Generator[bytes, None, None]:
        for key in keys:
            yield self._backend.read(key, 0, most)

    def local_files(self, wanted: Sequence[tuple[str, str]]) -> list[Path]:
        return [self._there(key) for key, _ in wanted]

    def time_here(self, now: float, /) -> float:
        return now

    def found(self, key: str) -> Found | None:
        place = self._backend.place(key)
        with fs.storage_errors(place):
            try:
                status = place.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Found(state_of(status), stat.S_ISREG(status.st_mode))

    def set_aside(self, key: str, found: Found, target: str) -> bool:
        if self.found(key) != found:
            return False
        aside = self._backend.place(target)
        fs.make_folder(aside.parent)
        fs.move(self._backend.place(key), aside)
        return True

    def _there(self, key: str) -> Path:
        if self._backend.head(key) is None:
            raise NotFound(f"{key} does not exist")
        return self._backend.place(key)
