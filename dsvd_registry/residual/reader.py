"""Strict reader of residuals, a frame at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..closing import Closing
from ..container import limits
from ..container.frames import RESIDUAL, decompress, read_frame, read_header
from ..container.rows import FrameRows, Int32, Int64, Rows
from ..container.table import ComponentTable, unpack_table
from ..errors import ContainerError
from ..ranged_file import Range, RangedFile, as_ranged
from .compiled import kernels_for
from .header import parse_header
from .kernels import Kernels
from .ordered import Bits
from .predicted import Predicted
from .records import ResidualTensor, elements_of
from .run import decode_run


class Residual(Closing):
    """An open `.dsvdr` file; opening checks its header and size.

    `file`: a path, or an open file, which it then closes. `name`: the path or the like, for messages.
    Several threads may read at once. Every method that reads may raise `ContainerError` (damage)
    and `StorageError` (the disk).
    """

    def __init__(self, file: Path | RangedFile) -> None:
        self._file = as_ranged(file)
        self.name = self._file.name
        try:
            data, offset = read_header(self._file, RESIDUAL)
            try:
                self.header = parse_header(data, offset, self._file.size)
            except ContainerError as error:
                raise type(error)(f"{self.name}: {error}") from error
            end = offset + sum(frame.stored for frame in self.header.frames)
            if end != self._file.size:
                raise ContainerError(
                    f"{self.name} has {self._file.size} bytes where its header says {end}"
                )
            components = sum(tensor.rank for tensor in self.header.tensors)
            most = limits.FREE_COMPONENTS + self._file.size // limits.BYTES_OF_A_COMPONENT
            if components > most:
                raise ContainerError(
                    f"{self.name}: {components} components are too many for {self._file.size} bytes"
                )
            self._expected: dict[str, int] = {}
            self._first_frame = {}
            first = 0
            for tensor in self.header.tensors:
                self._first_frame[tensor.name] = first
                first += tensor.frames
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    @property
    def identity(self) -> tuple[object, ...]:
        """The identity of the open file; see `RangedFile`."""
        return self._file.identity

    def components(self, tensor: ResidualTensor) -> tuple[Int32, Int32, Int64]:
        """The residual's own components of a tensor whose rank is at least 1.

        Returns a, int32 (rank, m), b, int32 (rank, n), and the exponents, int64 (rank,).
        """
        first = self._first_frame[tensor.name]
        table = unpack_table(memoryview(self._content(tensor, first)), tensor.rank)
        try:
            table.check()
            return self._rows(tensor, table, first + 1)
        except ContainerError as error:
            raise ContainerError(f"{self.name}: tensor {tensor.name!r}: {error}") from error

    def kernels(self, dtype: str) -> Kernels:
        """The kernels for the elements of a dtype: the fastest ones for all that is expected."""
        return kernels_for(dtype, self._expected.get(dtype, 0))

    def run(
        self, tensor: ResidualTensor, number: int, predicted: Predicted, out: Bits | None = None
    ) -> Bits:
        """Decode the bits of one run of the source, flat, from its prediction.

        The result is written to `out` if it is given.
        """
        frame = self._first_frame[tensor.name] + tensor.frames - tensor.runs + number
        content = memoryview(self._content(tensor, frame))
        try:
            return decode_run(content, predicted, out, self.kernels(tensor.dtype))
        except ContainerError as error:
            raise ContainerError(f"{self.name}: tensor {tensor.name!r}: {error}") from error

    @property
    def is_near(self) -> bool:
        """True if reading the whole file costs little; see `RangedFile`."""
        return self._file.is_near

    def expect_all(self) -> None:
        """Tell that all of it will be read soon; what is far away is then fetched together."""
        self._file.expect([Range(0, self.size)])
        self._expected = elements_of(self.header.tensors)

    def check_frames(self) -> None:
        """Check every frame against its checksum; nothing is decompressed."""
        for tensor in self.header.tensors:
            first = self._first_frame[tensor.name]
            for frame in range(first, first + tensor.frames):
                self._stored(tensor, frame)

    def check_file(self) -> str:
        """Check every frame as `check_frames` does, and return the SHA-256 of the whole file."""
        frames = self.header.frames
        self.expect_all()
        digest = hashlib.sha256(self._file.read(0, frames[0].offset if frames else self.size))
        for tensor in self.header.tensors:
            first = self._first_frame[tensor.name]
            for frame in range(first, first + tensor.frames):
                digest.update(self._stored(tensor, frame))
        return digest.hexdigest()

    def _rows(
        self, tensor: ResidualTensor, table: ComponentTable, frame: int
    ) -> tuple[Int32, Int32, Int64]:
        sides = tensor.matrix_shape
        a, b = (np.empty((tensor.rank, length), np.int32) for length in sides)
        first = 0
        for count in tensor.component_counts:
            part = table.rows(first, first + count)
            groups = [Rows(sides[0], part.max_a), Rows(sides[1], part.max_b)]
            content = self._content(tensor, frame)
            if sum(group.nbytes for group in groups) != len(content):
                raise ContainerError("its components are not of the size in their table")
            rows = FrameRows(groups)
            for number, (side, maxima) in enumerate(((a, part.max_a), (b, part.max_b))):
                found = rows.read(memoryview(content), number, side[first : first + count])
                if (found != maxima).any():
                    raise ContainerError("a component's magnitude is not the one in its table")
            first, frame = first + count, frame + 1
        return a, b, table.exponents

    def _content(self, tensor: ResidualTensor, number: int) -> bytes:
        where = f"{self.name}: frames[{number}]"
        return decompress(self._stored(tensor, number), self.header.frames[number].raw, where)

    def _stored(self, tensor: ResidualTensor, number: int) -> bytes:
        frame = self.header.frames[number]
        stored = read_frame(self._file, frame.offset, frame.stored, frame.sha256)
        if stored is None:
            raise ContainerError(
                f"{self.name}: frames[{number}], of tensor {tensor.name!r}, "
                "does not have its SHA-256"
            )
        return stored
