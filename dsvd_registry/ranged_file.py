"""Files that are read by ranges: on a disk here, or far away.

Containers and residuals are read so, whose bytes need not all be at hand.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from .closing import Closing
from .fs import storage_errors

CHUNK = 4 << 20


class Range(NamedTuple):
    """The bytes of a file from `start` to `stop`."""

    start: int
    stop: int


class RangedFile(Protocol):
    """An open file whose bytes do not change. Several threads may read it.

    `name`: the path or the like, for messages. `size`: bytes. `identity`: other bytes have another one.
    `is_near`: True if reading the whole file costs little; False if its bytes must come from afar.
    """

    name: str
    size: int
    identity: tuple[object, ...]
    is_near: bool

    def read(self, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start` on, fewer only at the end of the file.

        Raises `StorageError`, and `RegistryError` if the file is gone.
        """
        ...

    def expect(self, ranges: Iterable[Range]) -> None:
        """Tell which ranges will be read soon, so that they can be fetched together."""
        ...

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        ...


class DiskFile(Closing):
    """A file on a disk here. Raises `StorageError`."""

    is_near = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        with storage_errors(path):
            self._file = path.open("rb")
        self._reading = threading.Lock()
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.identity: tuple[object, ...] = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
        )

    def read(self, start: int, size: int) -> bytes:
        with storage_errors(self._path), self._reading:
            self._file.seek(start)
            return self._file.read(size)

    def expect(self, ranges: Iterable[Range]) -> None:
        pass  # the system reads ahead by itself

    def close(self) -> None:
        self._file.close()


def as_ranged(file: Path | RangedFile) -> RangedFile:
    """The file at a path, opened; any other as it is."""
    return DiskFile(file) if isinstance(file, Path) else file


def chunks(file: RangedFile) -> Iterator[bytes]:
    """All bytes of a file, in order."""
    file.expect([Range(0, file.size)])
    for start in range(0, file.size, CHUNK):
        yield file.read(start, CHUNK)


class SeekableStream(io.RawIOBase):
    """A read-only stream of a file whose size is known; `readinto` reads at `_position`."""

    _position = 0

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in origins:
            raise ValueError(f"whence is {whence}, not 0, 1 or 2")
        position = origins[whence] + offset
        if position < 0:
            raise ValueError(f"the position {position} is before the file")
        self._position = position
        return position


class _Stream(SeekableStream):
    def __init__(self, file: RangedFile) -> None:
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        memory = memoryview(buffer).cast("B")
        data = self._file.read(self._position, len(memory))
        memory[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def as_stream(file: RangedFile) -> BinaryIO:
    """The file as a read-only stream, which closes it."""
    return cast(BinaryIO, io.BufferedReader(_Stream(file)))
