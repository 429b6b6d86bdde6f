"""Reconstruction of a container's result from the container and its base.

The exact rule is in spec/dsvd-container-v1.md, section "Reconstruction". The unit of work is a run
of rows, so that it stays in the cache, several threads can work on one tensor, and memory does not
grow with the tensor.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, assert_never

import numpy as np

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import BITS, tensor_bytes
from ..codec.components import Components, Elements
from ..codec.exact_product import DeltaProduct, add_elements, cast, row_tiles
from ..codec.weights import Float32, Memory, Weights, scratch
from ..container.delta_decoder import check_served, decoded_delta, expect_result
from ..container.reader import Container
from ..container.records import (
    BasedRecord,
    CastRecord,
    DenseRecord,
    Header,
    KeptFile,
    LowRankRecord,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..container.structure import raw_bytes
from ..errors import ContainerError
from ..fs import Bytes
from ..hashing import all_digests
from ..progress import Meter, Progress, silent
from .base_view import ViewedBase
from .base_weights import BaseReader
from .cast_tensor import RecordedCast
from .file_assembly import Place, file_bytes, nowhere
from .file_plan import STORED_RUN, FilePlan, Run, RunsOfTensor, plan_of
from .kept_files import check_base_has, kept_files, kept_plan
from .quantised_weights import Quantiser, raw_of
from .result_layout import ResultFile, checked_files, own_metadata

Tensor = TypeVar("Tensor", bound=RunsOfTensor)


@dataclass(frozen=True)
class ResultDigest:
    """The SHA-256 and the size in bytes of a result file."""

    sha256: str
    size: int

    @property
    def kinds(self) -> Mapping[str, str]:
        """The digests by which the file can be found, by kind."""
        return {"sha256": self.sha256}


@dataclass(frozen=True)
class FullDigest(ResultDigest):
    """A `ResultDigest` with `every` digest that people know files by; see `all_digests`."""

    every: Mapping[str, str]

    @property
    def kinds(self) -> Mapping[str, str]:
        return self.every


class Reconstruction:
    """The result of `container` over `base` at `tau`, which is at most the stored tau.

    Raises `TauNotServed` for a tau that the container does not serve, `BaseMismatch` for a base
    that lacks a needed tensor.
    """

    def __init__(self, container: Container, base: BaseReader, tau: float) -> None:
        header = container.header
        check_served(container, tau)
        base.check_suits(
            (b for t in header.tensors if isinstance(t, BasedRecord) for b in t.base),
            header.base_digest,
        )
        check_base_has(container, base)
        self.files = checked_files(container, tau)
        self.kept_files = kept_files(container)
        self.tau = tau
        self._container, self._base = container, base
        self._index = {tensor.name: i for i, tensor in enumerate(header.tensors)}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the result's tensors, sorted."""
        return tuple(self._index)

    @property
    def header(self) -> Header:
        """The container's header."""
        return self._container.header

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Name, dtype and shape of each tensor, by name."""
        return {record.name: record for record in self._container.header.tensors}

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata on its origin that every result file contains."""
        return own_metadata(self.header, self.tau)

    @property
    def records(self) -> tuple[TensorRecord, ...]:
        """The record of each tensor, by name."""
        return self._container.header.tensors

    def chunks(self, file: ResultFile, place: Place = nowhere) -> Generator[Bytes, None, None]:
        """Yield the bytes of one of `files`, in order. Close the generator if you stop early.

        A chunk is valid until the next one is requested, because its memory is reused. `place`
        receives each chunk first, with its position in the file, perhaps in another thread.
        """
        return file_bytes(plan_of(self, file), place)

    def expect_all(self) -> None:
        """Tell that all files will be made, so that what they are made of is fetched together."""
        expect_result(self._container, self.tau)

    def kept_plan(self, file: KeptFile) -> FilePlan:
        """The plan of one of `kept_files`; see the function `kept_plan`."""
        return kept_plan(file, self._container, self._base)

    def digests(
        self, progress: Progress = silent, stage: str = "checking"
    ) -> tuple[ResultDigest, ...]:
        """Compute the digests of `files` without writing them; `kept_files` are checked, too."""
        found = []
        for file, chunks in self._checked_files(progress, stage):
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
            found.append(ResultDigest(digest.hexdigest(), file.size))
        return tuple(found)

    def full_digests(
        self, progress: Progress = silent, stage: str = "checking"
    ) -> tuple[FullDigest, ...]:
        """Every digest that people know files by, from the pass that `digests` takes."""
        found = []
        for file, chunks in self._checked_files(progress, stage):
            kinds = all_digests(chunks)
            found.append(FullDigest(kinds["sha256"], file.size, kinds))
        return tuple(found)

    def _checked_files(
        self, progress: Progress, stage: str
    ) -> Iterator[tuple[ResultFile, Iterator[Bytes]]]:
        """Yield each of `files` and its bytes, after a check of `kept_files`."""
        self.expect_all()
        for kept in self.kept_files:
            for _ in file_bytes(self.kept_plan(kept), nowhere):
                pass
        meter = Meter(progress, stage, sum(file.size for file in self.files))

        def metered(chunks: Iterator[Bytes]) -> Iterator[Bytes]:
            for chunk in chunks:
                size = memoryview(chunk).nbytes
                yield chunk
                meter.advance(size)

        for file in self.files:
            with contextlib.closing(self.chunks(file)) as chunks:
                yield file, metered(chunks)

    def tensor_bytes(self, name: str) -> memoryview:
        """A tensor's little-endian C-order bytes. Raises `KeyError` for an unknown name."""
        return self.tensor_memory(name).data

    def beside_base(self, name: str) -> Iterator[tuple[Weights, Weights]]:
        """Yield the counterpart and the common rows of a tensor, both flat, a run at a time.

        The tensor has a counterpart in the base and is F32, F16 or BF16. Each pair is valid until
        the next one is requested.
        """
        record = self._container.header.tensors[self._index[name]]
        assert isinstance(record, BasedRecord)
        base_dtype = record.base[0].dtype
        width, base_width = _width(record.dtype), _width(base_dtype)
        first = 0
        with _prepared(self.stored_tensor(name)) as tensor:
            for run in tensor.runs():
                if run.is_stored:
                    break
                after = scratch.memory("after", run.nbytes)
                tensor.fill(run, after)
                before = scratch.memory("before", run.nbytes // width * base_width)
                tensor.viewed.copy(first, before)
                first += len(before)
                base = Weights.over(before, (-1,), base_dtype)
                yield base, Weights.over(after, (-1,), record.dtype)

    def viewed_base(self, record: BasedRecord) -> Memory:
        """The bytes of a tensor's counterpart in the base."""
        memory = np.empty(tensor_bytes(record.base[0].dtype, record.common_shape), np.uint8)
        ViewedBase(record.viewed_base, self._base).copy(0, memory)
        return memory

    def tensor_memory(self, name: str) -> Memory:
        """A tensor's little-endian C-order bytes as an array, in memory of its own."""
        record = self._container.header.tensors[self._index[name]]
        memory = np.empty(record.nbytes, np.uint8)
        first = 0
        with _prepared(self.result_tensor(name)) as tensor:
            for run in tensor.runs():
                tensor.fill(run, memory[first : first + run.nbytes])
                first += run.nbytes
        return memory

    def result_tensor(self, name: str) -> RunsOfTensor:
        """A tensor that is computed in runs. Raises `KeyError` for an unknown name."""
        record = self.records[self._index[name]]
        if not isinstance(record, CastRecord):
            return self.stored_tensor(name)
        other = self.records[record.of]
        return RecordedCast(self.stored_tensor(other.name), other, name, record.dtype)

    def stored_tensor(self, name: str) -> ResultTensor:
        """A tensor that is not a cast of another, computed in runs."""
        return ResultTensor(self._container, self._base, self._index[name], self.tau)


class ResultTensor:
    """One tensor of the result, computed a run at a time; after `prepare`, in any thread."""

    viewed: ViewedBase
    quantiser: Quantiser | None = None
    _delta: DeltaProduct | Elements | None = None

    def __init__(self, container: Container, base: BaseReader, index: int, tau: float) -> None:
        self._container, self._base, self._index, self._tau = container, base, index, tau
        self.record = container.header.tensors[index]

    def prepare(self) -> None:
        """Find the counterpart in the base, and decode the delta."""
        record = self.record
        if isinstance(record, BasedRecord):
            self.viewed = ViewedBase(record.viewed_base, self._base)
        if isinstance(record, QuantisedRecord):
            self.quantiser = Quantiser(record, raw_of(self._container))
        delta = decoded_delta(self._container, self._index, self._tau)
        self._delta = DeltaProduct(delta) if isinstance(delta, Components) else delta

    @property
    def prepared_bytes(self) -> int:
        """The memory that the prepared tensor takes: the delta, and a transposed counterpart."""
        viewed = self.viewed.nbytes if isinstance(self.record, BasedRecord) else 0
        scales = 0 if self.quantiser is None else self.quantiser.nbytes
        return viewed + scales + (0 if self._delta is None else self._delta.nbytes)

    def runs(self) -> Iterator[Run]:
        """All runs, in order: the common rows, then the stored bytes."""
        record = self.record
        if isinstance(record, BasedRecord):
            columns, width = columns_of(record), _width(record.dtype)
            common = (record.elements,) if self._is_quantised else record.common_shape
            rows = tensor_bytes(record.dtype, common) // (columns * width)
            for first, end in row_tiles(rows, columns):
                yield Run(first, end, (end - first) * columns * width)
        stored = raw_bytes(record)
        for first in range(0, stored, STORED_RUN):
            end = min(stored, first + STORED_RUN)
            yield Run(first, end, end - first, is_stored=True)

    def fill(self, run: Run, memory: Memory) -> None:
        """Write a run's bytes to `memory`. Raises `ContainerError` for a result that is not finite."""
        record = self.record
        if run.is_stored:
            self._container.raw_range(self._index, run.first, memory)
            return
        assert isinstance(record, BasedRecord)
        if isinstance(record, QuantisedRecord):
            assert self.quantiser is not None
            codes_of = 8 // record.quantisation.bits  # codes in a byte
            first, count = run.first * codes_of, len(memory) * codes_of
            weights = self.weights(record, first, count)
            memory[:] = self.quantiser.bytes_of(self.quantiser.codes(weights, first).codes)
        elif _is_copied(record):
            self.viewed.copy(run.first * _width(record.dtype), memory)
        else:
            shape = run.end - run.first, columns_of(record)
            result = Weights.over(memory, shape, record.dtype)
            self._compute(record, run.first, run.end, result)
            if self._delta is None:
                if result.has_nan():
                    raise ContainerError(f"{record.name!r}: a NaN of the base would be cast")
            elif not result.is_finite():
                raise ContainerError(
                    f"{self._container.name}: tensor {record.name!r} would hold NaN or infinity"
                )

    def unrounded(self, first: int, end: int, out: Memory) -> None:
        """Write the float32 numbers that rows of a delta are rounded from, whatever they are."""
        assert isinstance(self.record, BasedRecord)
        shape = end - first, columns_of(self.record)
        self._compute(self.record, first, end, Weights.over(out, shape, "F32"))

    def weights(self, record: QuantisedRecord, first: int, count: int) -> Float32:
        """Elements of the counterpart in binary32, flat; the thread's next call overwrites them."""
        dtype = record.base[0].dtype
        width = _width(dtype)
        held = scratch.memory("base", count * width)
        self.viewed.copy(first * width, held)
        return Weights.over(held, (count,), dtype).widened()

    @property
    def _is_quantised(self) -> bool:
        return isinstance(self.record, QuantisedRecord)

    def release(self) -> None:
        """Return the memory of the base tensors to the system."""
        if isinstance(self.record, BasedRecord):
            self.viewed.release()

    def _compute(self, record: BasedRecord, first: int, end: int, out: Weights) -> None:
        """Write the sum of base and delta, rounded to the dtype of `out`."""
        shape = end - first, columns_of(self.record)
        base_dtype = record.base[0].dtype
        row = shape[1] * _width(base_dtype)
        held = scratch.memory("base", shape[0] * row)
        self.viewed.copy(first * row, held)
        base = Weights.over(held, shape, base_dtype)
        match self._delta:
            case DeltaProduct() as product:
                product.run(first, end).add_to(base, out)
            case Elements() as elements:
                add_elements(base, elements.run(first, end), out)
            case None:
                cast(base, out)
            case _:
                assert_never(self._delta)


@contextlib.contextmanager
def _prepared(tensor: Tensor) -> Iterator[Tensor]:
    tensor.prepare()
    try:
        yield tensor
    finally:
        tensor.release()


def columns_of(record: TensorRecord) -> int:
    """The number of elements in the smallest unit that runs consist of: a row, or one element."""
    match record:
        case LowRankRecord():
            return record.matrix_shape[1]
        case SameRecord() | DenseRecord() | RawRecord() | CastRecord() | QuantisedRecord():
            return 1
        case _:
            assert_never(record)


def _width(dtype: str) -> int:
    """The bytes of an element, at least 1."""
    return max(1, BITS[dtype] // 8)


def _is_copied(record: BasedRecord) -> bool:
    return isinstance(record, SameRecord) and record.base[0].dtype == record.dtype
