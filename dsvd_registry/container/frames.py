"""The bytes of an open container, and its frames: read, compared with their checksums, decompressed."""

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

HELD_BYTES = 64 << 20  # of decompressed frames kept while tensors are read in order
HELD_OF_A_BYTE = 16  # of those of a small file, for each byte of it


class ContainerFile(Closing):
    """An open file that several threads may read. Raises `StorageError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self._file = path.open("rb")
        self._reading = threading.Lock()
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()

    def read(self, offset: int, size: int) -> bytes:
        """As many bytes as there are, up to `size`."""
        with self._reading, storage_errors(self.path):
            self._file.seek(offset)
            return self._file.read(size)

    def read_frame(self, offset: int, size: int, checksum: str) -> bytes | None:
        """The bytes of a frame; None if they do not have this XXH3, or are fewer."""
        stored = self.read(offset, size)
        return stored if len(stored) == size and xxh3(stored) == checksum else None


class Frames:
    """The frames of a container by their numbers. Several threads may read at once.

    Raises `ContainerError` for a frame that is damaged, with the tensors that it hits.
    """

    def __init__(self, file: ContainerFile, header: Header) -> None:
        self._file, self._header = file, header
        self._lock = threading.Lock()
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._room = min(HELD_BYTES, HELD_OF_A_BYTE * file.size)

    def content(self, index: int) -> bytes:
        """A frame, decompressed; those last asked for are kept."""
        with self._lock:
            return self._content(index)

    def check(self) -> str:
        """Read the whole file once, and compare every frame and the payload; nothing is decompressed.

        Gives the SHA-256 of the file. Raises `ContainerError` for a frame that does not match its
        checksum, and for a payload whose SHA-256 is not the recorded one.
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
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        where = f"{self._file.path}: frames[{index}]"
        raw, stored = self._header.frames[index].raw, self._stored(index)
        while self._held and raw + sum(map(len, self._held.values())) > self._room:
            self._held.popitem(last=False)
        content = self._held[index] = decompress(stored, raw, where)
        return content

    def _stored(self, index: int) -> bytes:
        frame = self._header.frames[index]
        stored = self._file.read_frame(frame.offset, frame.stored, frame.xxh3)
        if stored is None:
            raise ContainerError(
                f"{self._file.path}: frames[{index}], with {self._holds(frame)}, "
                "does not match its checksum"
            )
        return stored

    def _holds(self, frame: Frame) -> str:
        """What is in a frame, for a message."""
        if not frame.parts:
            return "the header of the source"
        if frame.content == "files":
            what, names = "files", [file.path for file in self._header.tree or ()]
        else:
            what, names = "tensors", [tensor.name for tensor in self._header.tensors]
        names = list(dict.fromkeys(names[part.tensor] for part in frame.parts))
        others = f" and {len(names) - 3} other {what}" if len(names) > 3 else ""
        return f"{frame.content} of " + ", ".join(map(repr, names[:3])) + others
