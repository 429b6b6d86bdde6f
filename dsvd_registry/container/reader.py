"""Reading a container strictly: nothing is believed before it is checked, nothing large is held."""

from __future__ import annotations

import contextlib
import math
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from ..closing import Closing
from ..errors import ContainerError, UnsupportedFeature
from . import limits
from .compression import decompress
from .fidelity import check_budget
from .frames import ContainerFile, Frames
from .header import parse_header
from .integers import Int32, width
from .parts import (
    TABLE_ENTRY_SIZE,
    ComponentTable,
    unpack_components,
    unpack_components_into,
    unpack_elements,
    unpack_table,
)
from .records import DenseRecord, Frame, FrameContent, Header, LowRankRecord, Part
from .structure import check_structure


@dataclass(frozen=True)
class _Place:
    """Where a part stands: its first unit within its tensor, bytes start..end of its raw frame."""

    frame: int
    first: int
    count: int
    start: int
    end: int


class Container(Closing):
    """An open `.dsvd` file whose header, structure, size and component tables have been checked.

    Several threads may read at once. Every method that reads may raise `ContainerError` (damage)
    and `StorageError` (the disk).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = ContainerFile(path)
        try:
            self.size = self._file.size
            self.header = self._read_header()
            self._frames = Frames(self._file, self.header)
            self._places: dict[tuple[FrameContent, int], list[_Place]] = defaultdict(list)
            self._tables: dict[int, ComponentTable] = {}
            self._find_parts(("tables", "elements", "bytes"))
            self._read_tables()
            self._find_parts(("components",))
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def table(self, tensor: int) -> ComponentTable:
        """The component table of low-rank tensor number `tensor`."""
        return self._tables[tensor]

    def components(self, tensor: int, rank: int) -> tuple[Int32, Int32]:
        """The first `rank` components: a as int32 (rank, m), b as int32 (rank, n)."""
        parts = self._parts("components", tensor, rank)
        a, b = (np.empty((rank, size), np.int32) for size in self._low_rank(tensor).matrix_shape)
        for place, part in parts:
            end = place.first + place.count
            table = self._tables[tensor].rows(place.first, end)
            with self._naming(tensor):
                if end <= rank:
                    unpack_components_into(part, table, a[place.first : end], b[place.first : end])
                else:  # some more than are wanted
                    found = unpack_components(part, table, a.shape[1], b.shape[1])
                    for side, one in zip((a, b), found, strict=True):
                        side[place.first :] = one[: rank - place.first]
        return a, b

    def elements(self, tensor: int) -> Int32:
        """All integers of dense tensor number `tensor`, flat."""
        record = self.header.tensors[tensor]
        assert isinstance(record, DenseRecord)
        size = math.prod(record.common_shape)
        parts = self._parts("elements", tensor, size)
        values = np.empty(size, np.int32)
        for place, part in parts:
            with self._naming(tensor):
                run = unpack_elements(part, place.count, record.maximum)
            values[place.first : place.first + place.count] = run
        # Of both ends apart: the magnitude of the least int32 is not an int32.
        if max(int(values.max()), -int(values.min())) != record.maximum:
            raise ContainerError(f"{self.path}: tensor {record.name!r}: its maximum is not reached")
        return values

    def raw(self, tensor: int) -> bytes:
        """The stored bytes of tensor number `tensor`: all of a raw one, those of new rows, or none."""
        runs = range(len(self.raw_sizes(tensor)))
        return b"".join(self.raw_run(tensor, number) for number in runs)

    def raw_sizes(self, tensor: int) -> list[int]:
        """The sizes of the runs in which `raw` is stored."""
        return [place.count for place in self._places_of("bytes", tensor)]

    def raw_run(self, tensor: int, number: int) -> memoryview:
        """One of them, in order."""
        return self._part(self._places_of("bytes", tensor)[number])

    def source_header(self) -> bytes | None:
        """The JSON header of the safetensors file that was the source, if it was one."""
        for index, frame in enumerate(self.header.frames):
            if frame.content == "source_header":
                return self._frames.content(index)
        return None

    def part_sizes(self) -> Iterator[tuple[Frame, Part, int]]:
        """Every part with its frame and its bytes in the decompressed frame."""
        for (_, tensor), places in self._places.items():
            for place in places:
                frame = self.header.frames[place.frame]
                yield frame, Part(tensor, place.count), place.end - place.start

    def check_payload(self) -> None:
        """Compare every frame's checksum and the payload's SHA-256; nothing is decompressed."""
        self._frames.check()

    def check_file(self) -> str:
        """As `check_payload`, and gives the SHA-256 of the whole file, which is read once."""
        return self._frames.check()

    def _read_header(self) -> Header:
        prologue = self._file.read(0, limits.PROLOGUE_SIZE)
        if not prologue.startswith(limits.MAGIC):
            raise ContainerError(f"{self.path} is not a .dsvd container")
        if len(prologue) < limits.PROLOGUE_SIZE:
            raise ContainerError(f"{self.path} ends inside its prologue")
        version, zero, stored_size, json_size, zero_too, checksum = struct.unpack_from(
            "<HHIIIQ", prologue, len(limits.MAGIC)
        )
        if version != limits.VERSION:
            raise UnsupportedFeature(f"{self.path} is of format version {version}")
        if zero or zero_too:
            raise ContainerError(f"{self.path}: a reserved field of the prologue is not zero")
        if json_size > limits.MAX_HEADER_JSON or stored_size > limits.MAX_HEADER_STORED:
            raise ContainerError(f"{self.path}: the header is over its limit")
        payload_offset = limits.PROLOGUE_SIZE + stored_size
        if payload_offset > self.size:
            raise ContainerError(f"{self.path} ends inside its header")
        stored = self._file.read(limits.PROLOGUE_SIZE, stored_size)
        expected = xxhash.xxh3_64(prologue[: limits.CHECKED_PROLOGUE_SIZE])
        expected.update(stored)
        if expected.intdigest() != checksum:
            raise ContainerError(f"{self.path}: the header does not match its checksum")
        try:
            header = parse_header(decompress(stored, json_size, "the header"), payload_offset)
            check_structure(header)
            end = payload_offset + sum(frame.stored for frame in header.frames)
            check_budget(header, end)
        except ContainerError as error:
            raise type(error)(f"{self.path}: {error}") from error
        if end != self.size:
            raise ContainerError(
                f"{self.path} has {self.size} bytes where its header says {end}: "
                f"it is {'cut short' if self.size < end else 'followed by something else'}"
            )
        return header

    def _find_parts(self, contents: tuple[FrameContent, ...]) -> None:
        """Note where each part stands. Sizes of components follow from the tables, read before."""
        for index, frame in enumerate(self.header.frames):
            if frame.content not in contents:
                continue
            start = 0
            for part in frame.parts:
                places = self._places[frame.content, part.tensor]
                first = places[-1].first + places[-1].count if places else 0
                end = start + self._part_size(frame, part, first)
                places.append(_Place(index, first, part.count, start, end))
                start = end
            if start != frame.raw:
                raise ContainerError(
                    f"{self.path}: frames[{index}] declares {frame.raw} bytes for {start}"
                )

    def _part_size(self, frame: Frame, part: Part, first: int) -> int:
        record = self.header.tensors[part.tensor]
        match frame.content:
            case "tables":
                return TABLE_ENTRY_SIZE * part.count
            case "elements":
                assert isinstance(record, DenseRecord)
                return part.count * width(record.maximum)
            case "components":
                table = self._tables[part.tensor].rows(first, first + part.count)
                return table.factor_sizes(*self._low_rank(part.tensor).matrix_shape)
            case _:
                return part.count

    def _read_tables(self) -> None:
        for index, record in enumerate(self.header.tensors):
            if isinstance(record, LowRankRecord):
                table = ComponentTable.joined(
                    [
                        unpack_table(self._part(place), place.count)
                        for place in self._places["tables", index]
                    ]
                )
                with self._naming(index):
                    table.check()
                self._tables[index] = table

    def _places_of(self, content: FrameContent, tensor: int) -> list[_Place]:
        return self._places.get((content, tensor), [])

    def _parts(
        self, content: FrameContent, tensor: int, count: int
    ) -> list[tuple[_Place, memoryview]]:
        """Those that hold the first `count` units of a tensor.

        All are decompressed before the caller takes memory for what they hold: until then their
        sizes are no more than what the header says.
        """
        return [
            (place, self._part(place))
            for place in self._places_of(content, tensor)
            if place.first < count
        ]

    def _part(self, place: _Place) -> memoryview:
        return memoryview(self._frames.content(place.frame))[place.start : place.end]

    def _low_rank(self, tensor: int) -> LowRankRecord:
        record = self.header.tensors[tensor]
        assert isinstance(record, LowRankRecord)
        return record

    @contextlib.contextmanager
    def _naming(self, tensor: int) -> Iterator[None]:
        """Put the file and the tensor's name in front of an error raised inside."""
        try:
            yield
        except ContainerError as error:
            name = self.header.tensors[tensor].name
            raise ContainerError(f"{self.path}: tensor {name!r}: {error}") from error
