"""A checkpoint's file, mapped into memory: read in place, or copied in parts."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import stat
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError, StorageError
from ..fs import storage_errors


class MappedFile:
    """A whole regular file, mapped read-only.

    Raises `StorageError` if the system refuses it, and `CheckpointError` for a folder, a device or
    an empty file. If another program shortens the file while it is mapped, the process ends with
    SIGBUS, as with any mapping.
    """

    def __init__(self, path: Path) -> None:
        with storage_errors(path):
            mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CheckpointError(
                f"{path} is a folder, but not one that diffusers saves",
                "Name a file inside it, or a folder with model_index.json, or config.json and weights.",
            )
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{path} is not a regular file")
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self._close = weakref.finalize(self, os.close, self._descriptor)
            self.size = os.fstat(self._descriptor).st_size
            if not self.size:
                raise CheckpointError(f"{path} is empty")
            self._map = mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ)
        self.path = path

    def view(self, start: int, end: int) -> memoryview:
        """The bytes `start:end`, without a copy. Both must be in the file."""
        return memoryview(self._map)[start:end]

    def copy(self, start: int, memory: npt.NDArray[np.uint8]) -> None:
        """Fill `memory` with the bytes from `start` on, which must be in the file.

        This is faster than `view`, which takes a page fault for every few pages.

        Raises:
            StorageError: if the file cannot be read, or another program has shortened it.
            ValueError: if it is closed.
        """
        if not self._close.alive:  # the number may be another file's by now
            raise ValueError(f"{self.path} is closed")
        if not hasattr(os, "preadv"):
            memory[:] = np.frombuffer(self.view(start, start + len(memory)), np.uint8)
            return
        with storage_errors(self.path):
            while len(memory):
                size = os.preadv(self._descriptor, [memory.data], start)
                if not size:
                    raise StorageError(
                        f"{self.path} has become shorter while it was read",
                        "Run it again when the file is complete.",
                    )
                memory, start = memory[size:], start + size

    def find(self, byte: bytes, start: int, end: int) -> int:
        """The position of the first `byte` in `start:end`, or -1."""
        return self._map.find(byte, start, end)

    def release(self, start: int, end: int) -> None:
        """Give the memory of `start:end` back to the system; the next access reads it again."""
        # Windows has no such call, and trims the pages of mapped files by itself.
        if hasattr(mmap, "MADV_DONTNEED"):
            start -= start % mmap.PAGESIZE
            if end > start:
                self._map.madvise(mmap.MADV_DONTNEED, start, end - start)

    def close(self) -> None:
        """Close and unmap. The mapping stays until the last view of it is gone."""
        self._close()
        with contextlib.suppress(BufferError):
            self._map.close()


class Window(io.RawIOBase):
    """The bytes `start:end` of a mapped file, as a seekable file whose reads are bounded.

    The standard library's pickle and zip parsers read as many bytes as the file claims. `limit`
    bounds the memory that a false claim can take.
    """

    def __init__(self, file: MappedFile, start: int, end: int, limit: int) -> None:
        self._file, self._start, self._end, self._limit = file, start, end, limit
        self._position = start

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(0, self._end - self._position)
        size = rest if size is None or size < 0 else min(size, rest)
        if size > self._limit:
            raise CheckpointError(f"a part of {size} bytes is over the limit of {self._limit}")
        begin, self._position = self._position, self._position + size
        return bytes(self._file.view(begin, begin + size))

    def readline(self, _size: int | None = -1, /) -> bytes:
        newline = self._file.find(b"\n", self._position, self._end)
        end = self._end if newline < 0 else newline + 1
        return self.read(end - self._position)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        origin = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}
        position = origin[whence] + offset
        if position < self._start:
            raise ValueError("negative seek")
        self._position = position
        return self.tell()

    def tell(self) -> int:
        return self._position - self._start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
