"""Reading of an open container's frames: checksums compared, contents decompressed and cached."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path

from ..closing import Closing
from ..errors import ContainerError
from ..fs import storage_errors
from ..hashing import xxh3
from .compression import decompress
from .records import Frame, Header

CACHED_BYTES = 64 << 20  # of decompressed frames, kept while tensors are read in order
CACHED_OF_A_BYTE = 16  # the limit for small files: bytes kept for each byte of the file


class ContainerFile(Closing):
    """An open file that several threads may read. Raises `StorageError`.

    `identity`: another file, or one that was written to since, has another one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self._file = path.open("rb")
        self._reading = threading.Lock()
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def close(self) -> None:
        self._file.close()

    def read(self, offset: int, size: int) -> bytes:
        """Read up to `size` bytes, fewer only at the end of the file."""
        with self._reading, storage_errors(self.path):
            self._file.seek(offset)
            return self._file.read(size)

    def read_frame(self, offset: int, size: int, checksum: str) -> bytes | None:
        """The stored bytes of a frame; None if they are too few or do not match the checksum."""
        stored = self.read(offset, size)
        return stored if len(stored) == size and xxh3(stored) == checksum else None


class Frames:
    """The frames of a container by number. Several threads may read at once.

    Raises `ContainerError` for a damaged frame, naming the tensors in it.
    """

    def __init__(self, file: ContainerFile, header: Header, cached_bytes: int) -> None:
        self._file, self._header = file, header
        self._lock = threading.Lock()
        self._cached: OrderedDict[int, bytes] = OrderedDict()
        self._room = min(cached_bytes, CACHED_OF_A_BYTE * file.size)

    def content(self, index: int) -> bytes:
        """The decompressed content of a frame; the most recent ones are cached."""
        with self._lock:
            return self._content(index)

    def check(self) -> str:
        """Read the whole file once, and return its SHA-256; nothing is decompressed.

        Raises `ContainerError` for a frame that does not match its checksum, and for a payload
        whose SHA-256 is not the recorded one.
        """
        frames = self._header.frames
        whole = hashlib.sha256(self._file.read(0, frames[0].offset if frames else self._file.size))
        payload = hashlib.sha256()
        for index in range(len(frames)):
            stored = self._stored(index)
            payload.update(stored)
            whole.update(stored)
        if payload.hexdigest() != self._header.payload_sha256:
            raise ContainerError(
                f"{self._file.path}: the payload's SHA-256 is not the recorded one"
            )
        return whole.hexdigest()

    def _content(self, index: int) -> bytes:
        if index in self._cached:
            self._cached.move_to_end(index)
            return self._cached[index]
        where = f"{self._file.path}: frames[{index}]"
        raw, stored = self._header.frames[index].raw, self._stored(index)
        while self._cached and raw + sum(map(len, self._cached.values())) > self._room:
            self._cached.popitem(last=False)
        content = self._cached[index] = decompress(stored, raw, where)
        return content

    def _stored(self, index: int) -> bytes:
        frame = self._header.frames[index]
        stored = self._file.read_frame(frame.offset, frame.stored, frame.xxh3)
        if stored is None:
            raise ContainerError(
                f"{self._file.path}: frames[{index}], with {self._contents(frame)}, "
                "does not match its checksum"
            )
        return stored

    def _contents(self, frame: Frame) -> str:
        """The contents of a frame, in words for a message."""
        if not frame.parts:
            return "the header of the source"
        if frame.content == "files":
            what, names = "files", [file.path for file in self._header.tree or ()]
        else:
            what, names = "tensors", [tensor.name for tensor in self._header.tensors]
        names = list(dict.fromkeys(names[part.tensor] for part in frame.parts))
        others = f" and {len(names) - 3} other {what}" if len(names) > 3 else ""
        return f"{frame.content} of " + ", ".join(map(repr, names[:3])) + others
