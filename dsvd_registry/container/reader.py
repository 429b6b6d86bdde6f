"""Reading a container strictly: nothing is believed before it is checked, nothing large is held."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash

from ..closing import Closing
from ..errors import ContainerError, UnsupportedFeature
from ..fs import storage_errors
from ..hashing import xxh3
from . import limits
from .compression import decompress
from .header import parse_header
from .integers import Int32, width
from .parts import (
    TABLE_ENTRY_SIZE,
    ComponentTable,
    unpack_components,
    unpack_elements,
    unpack_table,
)
from .records import DenseRecord, Frame, FrameContent, Header, LowRankRecord, Part
from .structure import check_structure

HELD_BYTES = 64 << 20  # of decompressed frames kept while tensors are read in order


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
        with storage_errors(path):
            self._file: BinaryIO = path.open("rb")
        try:
            self._reading = threading.Lock()
            self.size = os.fstat(self._file.fileno()).st_size
            self.header = self._read_header()
            self._lock = threading.Lock()
            self._held: OrderedDict[int, bytes] = OrderedDict()
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
        rows, columns = self._low_rank(tensor).matrix_shape
        factors = []
        for place in self._places["components", tensor]:
            if place.first >= rank:
                break
            table = self._tables[tensor].rows(place.first, place.first + place.count)
            part = self._part(place)
            with self._naming(tensor):
                factors.append(unpack_components(part, table, rows, columns))
        return (
            np.concatenate([a for a, _ in factors])[:rank],
            np.concatenate([b for _, b in factors])[:rank],
        )

    def elements(self, tensor: int) -> Int32:
        """All integers of dense tensor number `tensor`, flat."""
        record = self.header.tensors[tensor]
        assert isinstance(record, DenseRecord)
        runs = []
        for place in self._places["elements", tensor]:
            part = self._part(place)
            with self._naming(tensor):
                runs.append(unpack_elements(part, place.count, record.maximum))
        values = np.concatenate(runs)
        if int(np.abs(values.astype(np.int64)).max()) != record.maximum:
            raise ContainerError(f"{self.path}: tensor {record.name!r}: its maximum is not reached")
        return values

    def raw(self, tensor: int) -> bytes:
        """The stored bytes of tensor number `tensor`: all of a raw one, those of new rows, or none."""
        return b"".join(self._part(place) for place in self._places["bytes", tensor])

    def source_header(self) -> bytes | None:
        """The JSON header of the safetensors file that was the source, if it was one."""
        for index, frame in enumerate(self.header.frames):
            if frame.content == "source_header":
                return self._frame(index)
        return None

    def part_sizes(self) -> Iterator[tuple[Frame, Part, int]]:
        """Every part with its frame and its bytes in the decompressed frame."""
        for (_, tensor), places in self._places.items():
            for place in places:
                frame = self.header.frames[place.frame]
                yield frame, Part(tensor, place.count), place.end - place.start

    def check_payload(self) -> None:
        """Compare every frame's checksum and the payload's SHA-256; nothing is decompressed."""
        digest = hashlib.sha256()
        for index in range(len(self.header.frames)):
            digest.update(self._stored(index))
        if digest.hexdigest() != self.header.payload_sha256:
            raise ContainerError(f"{self.path}: the payload's SHA-256 is not the recorded one")

    def _read_header(self) -> Header:
        prologue = self._read(0, limits.PROLOGUE_SIZE)
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
        stored = self._read(limits.PROLOGUE_SIZE, stored_size)
        expected = xxhash.xxh3_64(prologue[: limits.CHECKED_PROLOGUE_SIZE])
        expected.update(stored)
        if expected.intdigest() != checksum:
            raise ContainerError(f"{self.path}: the header does not match its checksum")
        try:
            header = parse_header(decompress(stored, json_size, "the header"), payload_offset)
            check_structure(header)
        except ContainerError as error:
            raise type(error)(f"{self.path}: {error}") from error
        end = payload_offset + sum(frame.stored for frame in header.frames)
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

    def _part(self, place: _Place) -> memoryview:
        return memoryview(self._frame(place.frame))[place.start : place.end]

    def _frame(self, index: int) -> bytes:
        with self._lock:
            return self._frame_alone(index)

    def _frame_alone(self, index: int) -> bytes:
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        frame = self.header.frames[index]
        content = decompress(self._stored(index), frame.raw, f"{self.path}: frames[{index}]")
        self._held[index] = content
        while len(self._held) > 1 and sum(map(len, self._held.values())) > HELD_BYTES:
            self._held.popitem(last=False)
        return content

    def _stored(self, index: int) -> bytes:
        frame = self.header.frames[index]
        stored = self._read(frame.offset, frame.stored)
        if len(stored) != frame.stored or xxh3(stored) != frame.xxh3:
            raise ContainerError(
                f"{self.path}: frames[{index}], with {self._holds(frame)}, "
                "does not match its checksum"
            )
        return stored

    def _holds(self, frame: Frame) -> str:
        """The tensors of a frame, for a message."""
        if not frame.parts:
            return "the header of the source"
        names = list(dict.fromkeys(self.header.tensors[part.tensor].name for part in frame.parts))
        others = f" and {len(names) - 3} other tensors" if len(names) > 3 else ""
        return f"{frame.content} of " + ", ".join(map(repr, names[:3])) + others

    def _read(self, offset: int, size: int) -> bytes:
        with self._reading, storage_errors(self.path):
            self._file.seek(offset)
            return self._file.read(size)

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
