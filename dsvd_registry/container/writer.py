"""Writer of containers: parts are collected into frames, then everything is written in one pass.

The output depends on the input alone: not on the time, the machine or the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from ..errors import StorageError
from ..fs import Bytes
from ..hashing import sha256
from . import limits
from .frames import BYTES, CONTAINER, NUMBERS, TEXT, compress, compress_blocks, stored_header
from .header import header_bytes
from .records import FRAME_ORDER, Frame, FrameContent, Header, Part
from .rows import Run, blocks
from .structure import check_size, check_structure

# A frame is closed at this size: the more rows it has, the better similar rows compress.
FRAME_TARGET = 4 << 20
PARAMETERS = {
    "tables": TEXT,
    "elements": NUMBERS,
    "bytes": BYTES,
    "source_header": TEXT,
    "files": BYTES,
    "components": NUMBERS,
}


class Writable(Protocol):
    def write(self, data: Bytes, /) -> object: ...


@dataclass
class _OpenFrame:
    parts: list[Part] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True)
class _StoredFrame:
    content: FrameContent
    band: int
    position: int  # in the scratch file
    frame: Frame


class PayloadWriter:
    """Collects parts into zstd frames; `scratch` stores compressed frames until their order is known.

    Frames are ordered by content, then by band, then as they were filled. Band 0 has the first
    components of every tensor, so a prefix of the payload is a coarser version of the whole.
    """

    def __init__(self, scratch: BinaryIO) -> None:
        self._scratch = scratch
        self._open: dict[tuple[FrameContent, int], _OpenFrame] = {}
        self._stored: list[_StoredFrame] = []

    def add(
        self, content: FrameContent, part: Part | None, runs: Iterable[Run], band: int = 0
    ) -> None:
        """Add one part of at most `limits.FREE_FRAME_RAW - FRAME_TARGET` bytes to a frame."""
        frame = self._open.setdefault((content, band), _OpenFrame())
        if part is not None:
            frame.parts.append(part)
        for run in runs:
            frame.runs.append(run)
            frame.size += len(run.data)
        if frame.size >= FRAME_TARGET:
            self._close_frame(content, band)

    def finish(self) -> tuple[Frame, ...]:
        """Close all frames; return them in file order, without offsets."""
        for content, band in list(self._open):
            self._close_frame(content, band)
        self._stored.sort(key=lambda stored: (FRAME_ORDER.index(stored.content), stored.band))
        return tuple(stored.frame for stored in self._stored)

    def chunks(self) -> Iterator[bytes]:
        """The payload, frame by frame."""
        for stored in self._stored:
            self._scratch.seek(stored.position)
            yield self._scratch.read(stored.frame.stored)

    def _close_frame(self, content: FrameContent, band: int) -> None:
        frame = self._open.pop((content, band))
        stored = compress_blocks(list(blocks(frame.runs)), PARAMETERS[content])
        position = self._scratch.seek(0, 2)
        self._scratch.write(stored)
        entry = Frame(content, tuple(frame.parts), frame.size, len(stored), sha256(stored))
        self._stored.append(_StoredFrame(content, band, position, entry))


def container_size(header: Header) -> int:
    """The size of a container with this header; other digests change it by a few dozen bytes."""
    stored = compress(header_bytes(header), TEXT)
    return limits.PROLOGUE_SIZE + len(stored) + sum(frame.stored for frame in header.frames)


def write_container(header: Header, payload: Iterator[bytes], out: Writable) -> None:
    """Write a whole container to `out`.

    Raises `ContainerError`, before a byte is written, for a header that no reader accepts.
    Raises `StorageError` if `payload` does not have the size that the header says.
    """
    check_structure(header)
    start = stored_header(CONTAINER, header_bytes(header))
    size = len(start) + sum(frame.stored for frame in header.frames)
    check_size(header, size)
    out.write(start)
    written = len(start)
    for chunk in payload:
        out.write(chunk)
        written += len(chunk)
    if written != size:
        raise StorageError(
            f"a container came out with {written} bytes, but its header says {size}",
            "Nothing was stored. Check the disk, and report this if it happens again.",
        )
