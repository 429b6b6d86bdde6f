"""Writer of residuals: frames are collected in a scratch file, then all is written in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ..container.frames import NUMBERS, RESIDUAL, TEXT, compress, compress_blocks, stored_header
from ..container.records import Result
from ..container.rows import Int32, Rows, Run, blocks, pack_rows
from ..container.table import ComponentTable, pack_table
from ..container.writer import Writable
from ..fs import read_back
from ..hashing import sha256
from .header import header_bytes
from .records import ResidualFrame, ResidualHeader, ResidualTensor


@dataclass(frozen=True)
class StoredFrame:
    """The compressed bytes of a frame, and its raw size."""

    data: bytes
    raw: int


def run_frame(runs: Sequence[Run]) -> StoredFrame:
    """The frame of one run of elements."""
    pieces = list(blocks(runs))
    return StoredFrame(compress_blocks(pieces, NUMBERS), sum(map(len, pieces)))


def component_frames(
    tensor: ResidualTensor, a: Int32, b: Int32, table: ComponentTable
) -> list[StoredFrame]:
    """The frames of a tensor's components in the residual: the component table, then the numbers."""
    packed = pack_table(table)
    frames = [StoredFrame(compress(packed, TEXT), len(packed))]
    first = 0
    for count in tensor.component_counts:
        part = table.rows(first, first + count)
        runs: list[Run] = []
        for side, maxima in ((a, part.max_a), (b, part.max_b)):
            runs += pack_rows(side[first : first + count], Rows(side.shape[1], maxima))
        frames.append(run_frame(runs))
        first += count
    return frames


class ResidualWriter:
    """Collects the frames of all tensors, in any order, in `scratch` until the header is known."""

    def __init__(self, scratch: BinaryIO) -> None:
        self._scratch = scratch
        self._tensors: dict[str, tuple[ResidualTensor, list[ResidualFrame]]] = {}

    def add(self, tensor: ResidualTensor, frames: Iterable[StoredFrame]) -> None:
        """Add all frames of one tensor. Until `write`, their `offset` refers to the scratch file."""
        kept = []
        for frame in frames:
            offset = self._scratch.seek(0, 2)
            self._scratch.write(frame.data)
            kept.append(ResidualFrame(frame.raw, len(frame.data), sha256(frame.data), offset))
        self._tensors[tensor.name] = tensor, kept

    def write(self, container: str, results: tuple[Result, ...], out: Writable) -> None:
        """Write the whole file to `out`. Raises `ContainerError` if it is over the limits of readers."""
        ordered = [self._tensors[name] for name in sorted(self._tensors, key=str.encode)]
        frames = [frame for _, own in ordered for frame in own]
        header = ResidualHeader(
            container, tuple(tensor for tensor, _ in ordered), tuple(frames), results
        )
        out.write(stored_header(RESIDUAL, header_bytes(header)))
        for frame in frames:
            out.write(read_back(self._scratch, frame.offset, frame.stored))
