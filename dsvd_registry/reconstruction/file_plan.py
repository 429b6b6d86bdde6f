"""The plan of a file: the place of every byte, known before any of them is computed.

Whoever makes bytes follows it: the writer of a whole file (file_assembly.py) and the reader of any
part (range_reader.py).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from ..checkpoint.tensor_info import TensorInfo
from ..codec.weights import Memory
from ..errors import ResultMismatch
from .result_layout import ResultFile

STORED_RUN = 4 << 20  # bytes, and whole elements of each dtype that is cast


@dataclass(frozen=True)
class Run:
    """A run of a tensor: rows first..end-1, of `nbytes` bytes that are whole elements.

    `is_stored`: the run's bytes are stored unchanged; it is then bytes first..end-1 of those.
    """

    first: int
    end: int
    nbytes: int
    is_stored: bool = False


class RunsOfTensor(Protocol):
    """A tensor whose bytes are computed in runs."""

    def prepare(self) -> None:
        """Prepare the tensor, once before its first run is filled."""

    @property
    def prepared_bytes(self) -> int:
        """The memory that the prepared tensor takes."""

    def runs(self) -> Iterator[Run]:
        """All runs, in order; they are known before the tensor is prepared."""

    def fill(self, run: Run, memory: Memory) -> None:
        """Write a run's bytes to `memory`; any thread may call this."""

    def release(self) -> None:
        """Free resources; no run is filled after this."""


class Result(Protocol):
    """A result whose tensors can each be computed by themselves, in runs."""

    @property
    def files(self) -> tuple[ResultFile, ...]: ...
    @property
    def infos(self) -> Mapping[str, TensorInfo]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...

    def result_tensor(self, name: str) -> RunsOfTensor:
        """A tensor that is computed in runs. Raises `KeyError` for an unknown name."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of the tensor named `tensor` of a file; its first byte is number `position` of the file."""

    tensor: str
    run: Run
    position: int

    @property
    def end(self) -> int:
        """The number of the byte after its last one."""
        return self.position + self.run.nbytes


_position = attrgetter("position")


class FilePlan:
    """A file of `prefix` and, in this order, of tensors, whose `sizes` are given by name.

    `tensor(name)`: the tensor of that name, not prepared yet.
    """

    def __init__(
        self,
        path: str,
        prefix: bytes,
        sizes: Mapping[str, int],
        tensor: Callable[[str], RunsOfTensor],
    ) -> None:
        self.path, self.prefix, self.names = path, prefix, tuple(sizes)
        self._sizes, self._tensor = sizes, tensor
        self._starts = list(itertools.accumulate(sizes.values(), initial=len(prefix)))
        self._runs: dict[str, tuple[PlannedRun, ...]] = {}

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._starts[-1]

    def tensor(self, name: str) -> RunsOfTensor:
        """A tensor that is not prepared yet.

        Raises `ResultMismatch` if its size is not that in the file's header.
        """
        tensor = self._tensor(name)
        nbytes = sum(run.nbytes for run in tensor.runs())
        if nbytes != self._sizes[name]:
            raise ResultMismatch(
                f"the tensor {name!r} comes out with {nbytes} bytes, where the header of its file says "
                f"{self._sizes[name]}"
            )
        return tensor

    def runs(self, begin: int, end: int) -> Iterator[PlannedRun]:
        """The runs with at least one of the bytes begin..end-1, in order. Raises as `tensor`."""
        for number in self._tensors(begin, end):
            runs = self._runs_of(number)
            first = bisect.bisect_right(runs, begin, key=_position)
            for planned in runs[max(0, first - 1) :]:
                if planned.position >= end:
                    break
                if begin < planned.end and planned.run.nbytes:
                    yield planned

    def tensors(self, begin: int, end: int) -> Iterator[str]:
        """The names of the tensors that may have one of the bytes begin..end-1, in order."""
        return (self.names[number] for number in self._tensors(begin, end))

    def _tensors(self, begin: int, end: int) -> range:
        if begin >= end:
            return range(0)
        first = max(0, bisect.bisect_right(self._starts, begin) - 1)
        return range(first, bisect.bisect_left(self._starts, end, 0, len(self.names)))

    def _runs_of(self, number: int) -> tuple[PlannedRun, ...]:
        name, position = self.names[number], self._starts[number]
        if name not in self._runs:
            planned = []
            for run in self.tensor(name).runs():
                planned.append(PlannedRun(name, run, position))
                position += run.nbytes
            self._runs[name] = tuple(planned)
        return self._runs[name]


def plan_of(result: Result, file: ResultFile) -> FilePlan:
    """The plan of one of the files of `result`."""
    layout = file.layout
    sizes = dict(zip(layout.order, layout.sizes, strict=True))
    return FilePlan(
        file.path, layout.prefix, sizes, lambda name: result.result_tensor(file.prefix + name)
    )


def plan_of_bytes(path: str, data: bytes) -> FilePlan:
    """The plan of a file whose bytes are known."""

    def tensor(name: str) -> RunsOfTensor:
        raise KeyError(name)

    return FilePlan(path, data, {}, tensor)
