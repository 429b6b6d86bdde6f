"""Strict reader of containers: everything is checked before use, and little is kept in memory."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..errors import ContainerError
from ..ranged_file import RangedFile, as_ranged
from .frames import CACHED_BYTES, CONTAINER, Frames, read_header
from .parse_header import parse_header
from .records import DenseRecord, Frame, FrameContent, Header, LowRankRecord, Part
from .rows import FrameRows, Int32, Int64, Rows
from .structure import (
    check_size,
    check_structure,
    component_rows,
    element_rows,
)
from .table import TABLE_ENTRY_SIZE, ComponentTable, unpack_table

FRAMES_PLACED = 64  # frames whose row positions are remembered
MOST_BYTES = 4 << 20  # of stored bytes that are returned at once


@dataclass(frozen=True)
class _Place:
    """The position of a part in its tensor (from unit `first` on) and in its frame.

    `start`: for tables and bytes, an offset into the decompressed frame; for components and
    elements, the index of the part's first group of rows.
    """

    frame: int
    first: int
    count: int
    start: int
    nbytes: int


class Container(Closing):
    """An open `.dsvd` file; opening checks its header, structure, size and component tables.

    `file`: a path, or an open file, which it then closes. `name`: the path or the like, for messages.
    `cached_bytes`: of decompressed frames, which are kept for reading tensors in order.
    Several threads may read at once. Every method that reads may raise `ContainerError` (damage)
    and `StorageError` (the disk).
    """

    def __init__(self, file: Path | RangedFile, cached_bytes: int = CACHED_BYTES) -> None:
        self._file = as_ranged(file)
        self.name = self._file.name
        try:
            self.size = self._file.size
            self.header = self._read_header()
            self._frames = Frames(self._file, self.header, cached_bytes)
            self._places: dict[tuple[FrameContent, int], list[_Place]] = defaultdict(list)
            self._groups: dict[int, list[Rows]] = {}
            self._rows: dict[int, FrameRows] = {}
            self._placing = threading.Lock()
            self._tables: dict[int, ComponentTable] = {}
            self._find_parts(("tables", "elements", "bytes", "files"))
            self._read_tables()
            self._find_parts(("components",))
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    @property
    def identity(self) -> tuple[object, ...]:
        """The identity of the open file; see `RangedFile`."""
        return self._file.identity

    @property
    def is_near(self) -> bool:
        """True if reading the whole file costs little; see `RangedFile`."""
        return self._file.is_near

    def expect(self, ranks: Mapping[int, int]) -> None:
        """Tell that everything will be read soon, of components only the first of some tensors.

        `ranks`: their number, by tensor. What is far away is then fetched together.
        """
        wanted = {
            place.frame
            for tensor, rank in ranks.items()
            for place in self._places_of("components", tensor)
            if place.first < rank
        }
        frames = enumerate(self.header.frames)
        wanted |= {index for index, frame in frames if frame.content != "components"}
        self._frames.expect(wanted)

    def table(self, tensor: int) -> ComponentTable:
        """The component table of low-rank tensor number `tensor`."""
        return self._tables[tensor]

    def energy(self, tensor: int) -> float:
        """The energy of the stored rank of low-rank tensor number `tensor`."""
        total = float(self._tables[tensor].singular_values.astype(np.float64).sum())
        return min(1.0, total / self._low_rank(tensor).nuclear_norm)

    def components(self, tensor: int, rank: int) -> tuple[Int32, Int32]:
        """The first `rank` components: a as int32 (rank, m), b as int32 (rank, n)."""
        places = self._decompressed("components", tensor, rank)
        table, sides = self._tables[tensor], self._low_rank(tensor).matrix_shape
        a, b = (np.empty((rank, length), np.int32) for length in sides)
        for place in places:
            end = place.first + place.count
            for group, (side, maxima) in enumerate(((a, table.max_a), (b, table.max_b))):
                part = side[place.first : end]
                if end > rank:  # the part has more components than requested
                    part = np.empty((place.count, side.shape[1]), np.int32)
                if (self._read(tensor, place, group, part) != maxima[place.first : end]).any():
                    raise self._of(tensor, "a component's magnitude is not the one in its table")
                if end > rank:
                    side[place.first :] = part[: rank - place.first]
        return a, b

    def elements(self, tensor: int) -> Int32:
        """All integers of dense tensor number `tensor`, flat int32."""
        record = self.header.tensors[tensor]
        assert isinstance(record, DenseRecord)
        size = math.prod(record.common_shape)
        places = self._decompressed("elements", tensor, size)
        values = np.empty(size, np.int32)
        largest = 0
        for place in places:
            row = values[None, place.first : place.first + place.count]
            largest = max(largest, *self._read(tensor, place, 0, row).tolist())
        if largest != record.maximum:
            raise self._of(tensor, f"its elements reach {largest}, and not its maximum")
        return values

    def raw(self, tensor: int) -> bytes:
        """The stored bytes of tensor number `tensor`: all of a raw one, those of new rows, or none."""
        runs = range(len(self.raw_sizes(tensor)))
        return b"".join(self.raw_run(tensor, number) for number in runs)

    def raw_sizes(self, tensor: int) -> list[int]:
        """The sizes of the runs in which `raw` is stored."""
        return [place.count for place in self._places_of("bytes", tensor)]

    def raw_run(self, tensor: int, number: int) -> memoryview:
        """Run number `number` of the stored bytes of a tensor."""
        return self._part(self._places_of("bytes", tensor)[number])

    def raw_range(self, tensor: int, first: int, out: npt.NDArray[np.uint8]) -> None:
        """Write some of them over `out`, from byte number `first` on."""
        self._copy("bytes", tensor, first, out)

    def file_range(self, file: int, first: int, out: npt.NDArray[np.uint8]) -> None:
        """Write some bytes of file number `file` of the tree over `out`, from number `first` on."""
        self._copy("files", file, first, out)

    def _copy(
        self, content: FrameContent, number: int, first: int, out: npt.NDArray[np.uint8]
    ) -> None:
        for place in self._places_of(content, number):
            begin = max(first, place.first)
            end = min(first + len(out), place.first + place.count)
            if begin < end:
                part = np.frombuffer(self._part(place), np.uint8)
                out[begin - first : end - first] = part[begin - place.first : end - place.first]

    def source_headers(self) -> tuple[bytes, ...]:
        """The JSON headers of the source's safetensors files; none if it had no such files."""
        return tuple(
            self._frames.content(index)
            for index, frame in enumerate(self.header.frames)
            if frame.content == "source_header"
        )

    def stored_file(self, file: int) -> Iterator[memoryview]:
        """The bytes of file number `file` of the tree, a run at a time; none if they are not stored."""
        yield from (self._part(place) for place in self._places_of("files", file))

    def part_sizes(self) -> Iterator[tuple[Frame, Part, int]]:
        """Every part of a tensor, with its frame and its size in the decompressed frame."""
        for (content, tensor), places in self._places.items():
            if content == "files":
                continue
            for place in places:
                frame = self.header.frames[place.frame]
                yield frame, Part(tensor, place.count), place.nbytes

    def check_file(self) -> str:
        """Compare the SHA-256 of every frame, and return that of the whole file.

        Nothing is decompressed.
        """
        return self._frames.check()

    def _read_header(self) -> Header:
        data, payload_offset = read_header(self._file, CONTAINER)
        try:
            header = parse_header(data, payload_offset, self._file.size)
            check_structure(header)
            end = payload_offset + sum(frame.stored for frame in header.frames)
            check_size(header, end)
        except ContainerError as error:
            raise type(error)(f"{self.name}: {error}") from error
        if end != self.size:
            raise ContainerError(
                f"{self.name} has {self.size} bytes where its header says {end}: "
                f"it is {'cut short' if self.size < end else 'followed by something else'}"
            )
        return header

    def _find_parts(self, contents: tuple[FrameContent, ...]) -> None:
        """Record the position of each part; for components, the tables must have been read."""
        for index, frame in enumerate(self.header.frames):
            if frame.content not in contents:
                continue
            size = 0
            groups = self._groups[index] = []
            for part in frame.parts:
                places = self._places[frame.content, part.tensor]
                first = places[-1].first + places[-1].count if places else 0
                rows = self._part_rows(frame, part, first)
                start = len(groups) if rows else size
                nbytes = sum(group.nbytes for group in rows) if rows else _part_size(frame, part)
                whole = _Place(index, first, part.count, start, nbytes)
                places += _runs(whole) if frame.content in ("bytes", "files") else [whole]
                groups += rows
                size += nbytes
            if size != frame.raw:
                raise ContainerError(
                    f"{self.name}: frames[{index}] declares {frame.raw} bytes for {size}"
                )

    def _part_rows(self, frame: Frame, part: Part, first: int) -> list[Rows]:
        """The groups of rows of a part; none of tables, bytes and files."""
        match frame.content:
            case "elements":
                record = self.header.tensors[part.tensor]
                assert isinstance(record, DenseRecord)
                return element_rows(record, part)
            case "components":
                table = self._tables[part.tensor].rows(first, first + part.count)
                return component_rows(self._low_rank(part.tensor), table)
            case "tables" | "bytes" | "source_header" | "files":
                return []
            case _:
                assert_never(frame.content)

    def _read_tables(self) -> None:
        frames = enumerate(self.header.frames)
        self._frames.expect(index for index, frame in frames if frame.content == "tables")
        for index, record in enumerate(self.header.tensors):
            if isinstance(record, LowRankRecord):
                table = ComponentTable.joined(
                    [
                        unpack_table(self._part(place), place.count)
                        for place in self._places["tables", index]
                    ]
                )
                try:
                    table.check()
                except ContainerError as error:
                    raise self._of(index, str(error)) from error
                self._tables[index] = table

    def _places_of(self, content: FrameContent, tensor: int) -> list[_Place]:
        return self._places.get((content, tensor), [])

    def _decompressed(self, content: FrameContent, tensor: int, count: int) -> list[_Place]:
        """The positions of the parts with the first `count` units of a tensor.

        Their frames are decompressed here, before the caller takes memory for the result: until
        then, sizes are mere claims of the header.
        """
        places = [p for p in self._places_of(content, tensor) if p.first < count]
        for place in places:
            self._frames.content(place.frame)
        return places

    def _read(self, tensor: int, place: _Place, group: int, out: Int32) -> Int64:
        """Write one group of a part's rows to `out`, and return the largest magnitude of each row."""
        content = memoryview(self._frames.content(place.frame))
        rows = self._rows_of(place.frame)
        try:
            return rows.read(content, place.start + group, out)
        except ContainerError as error:
            raise self._of(tensor, str(error)) from error

    def _rows_of(self, frame: int) -> FrameRows:
        """The positions of the rows in a frame, which only one thread works out."""
        with self._placing:
            rows = self._rows.get(frame)
            if rows is None:
                if len(self._rows) >= FRAMES_PLACED:
                    self._rows.clear()
                rows = self._rows[frame] = FrameRows(self._groups[frame])
            return rows

    def _part(self, place: _Place) -> memoryview:
        content = memoryview(self._frames.content(place.frame))
        return content[place.start : place.start + place.nbytes]

    def _low_rank(self, tensor: int) -> LowRankRecord:
        record = self.header.tensors[tensor]
        assert isinstance(record, LowRankRecord)
        return record

    def _of(self, tensor: int, what: str) -> ContainerError:
        """An error of one tensor; the message begins with the file and the tensor's name."""
        return ContainerError(f"{self.name}: tensor {self.header.tensors[tensor].name!r}: {what}")


def _runs(place: _Place) -> Iterator[_Place]:
    """Split a part of bytes, so that no reader needs memory for a whole frame."""
    for at in range(0, place.count, MOST_BYTES):
        count = min(MOST_BYTES, place.count - at)
        yield _Place(place.frame, place.first + at, count, place.start + at, count)


def _part_size(frame: Frame, part: Part) -> int:
    return part.count * (TABLE_ENTRY_SIZE if frame.content == "tables" else 1)
