"""A folder of files that can be made again; the least recently used ones give way to new ones.

Its names and variables are those of dsvd-registry's own cache, so that both may share one folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .source import SubjectError

FOLDER, LIMIT = "DSVD_CACHE", "DSVD_CACHE_LIMIT"
DEFAULT_LIMIT = 50 * 10**9
ABANDONED = 24 * 3600  # seconds after which an unfinished file is taken for the trace of a crash
_UNFINISHED = ".dsvd-part"
_NAME = re.compile(r"[0-9a-f]{64}(-[0-9.e-]+)?\.safetensors")


@dataclass(frozen=True)
class FileCache:
    """The folder, and the largest total size of its files in bytes."""

    folder: Path
    limit: int

    def path_for(self, *parts: str) -> Path:
        """The path of the file that these texts describe."""
        return (
            self.folder / f"{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}.safetensors"
        )

    def has(self, path: Path) -> bool:
        """Whether the file is there; it counts as used now."""
        with suppress(FileNotFoundError):
            os.utime(path)
            return True
        return False

    @contextmanager
    def new_file(self, path: Path, size: int) -> Iterator[BinaryIO]:
        """A file to write, which gets its name once it is whole. Other files make room for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make_room(path, size)
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=_UNFINISHED, delete=False) as file:
            try:
                yield file  # type: ignore[misc]
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                file.close()
                Path(file.name).unlink(missing_ok=True)
                raise

    def make_room(self, path: Path, size: int) -> None:
        """Remove the least recently used files, never `path`, until `size` more bytes fit.

        Unfinished files of crashed processes go too.
        """
        files = []
        for part in self.folder.glob(f"*{_UNFINISHED}"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > ABANDONED:
                    part.unlink()
        for other in self.folder.iterdir():
            if _NAME.fullmatch(other.name) and other != path:
                with suppress(FileNotFoundError):
                    status = other.stat()
                    files.append((status.st_mtime_ns, other, status.st_size))
        total = size + sum(size for _, _, size in files)
        for _, other, other_size in sorted(files):
            if total <= self.limit:
                break
            with suppress(OSError):  # open elsewhere on Windows, or another user's
                other.unlink()
                total -= other_size


def find_cache() -> FileCache:
    """The cache in DSVD_CACHE, by default `dsvd` in ComfyUI's folder of models."""
    import folder_paths

    limit = os.environ.get(LIMIT) or str(DEFAULT_LIMIT)
    if not re.fullmatch(r"[0-9]{1,18}", limit):
        raise SubjectError(f"{LIMIT} is {limit!r}, which is not a number of bytes.")
    folder = os.environ.get(FOLDER) or Path(folder_paths.models_dir) / "dsvd"
    return FileCache(Path(folder).absolute(), int(limit))
