"""A tensor rounded to another dtype, run by run as it is computed."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import replace

from ..checkpoint.tensor_info import BITS, TensorInfo
from ..codec.exact_product import cast
from ..codec.weights import Memory, Weights, scratch
from ..errors import ContainerError, DsvdError
from .file_plan import Run, RunsOfTensor


class CastTensor(abc.ABC):
    """`tensor`, which looks like `info`, as `dtype`; both dtypes are of F32, F16 and BF16.

    A NaN, and a finite number that `dtype` has no room for, are errors of the class's choice.
    """

    memory: str
    """The name of the scratch memory that holds a run before it is cast."""

    def __init__(self, tensor: RunsOfTensor, info: TensorInfo, dtype: str) -> None:
        self._tensor, self.info, self.dtype = tensor, info, dtype
        self._widths = BITS[info.dtype] // 8, BITS[dtype] // 8

    @abc.abstractmethod
    def nan(self) -> DsvdError:
        """The error where a number is a NaN."""

    @abc.abstractmethod
    def beyond(self) -> DsvdError:
        """The error where a finite number would become infinite."""

    def prepare(self) -> None:
        self._tensor.prepare()

    @property
    def prepared_bytes(self) -> int:
        return self._tensor.prepared_bytes

    def runs(self) -> Iterator[Run]:
        before, after = self._widths
        for run in self._tensor.runs():
            yield replace(run, nbytes=run.nbytes // before * after)

    def fill(self, run: Run, memory: Memory) -> None:
        before, after = self._widths
        size = run.nbytes // after * before
        uncast = scratch.memory(self.memory, size)
        self._tensor.fill(replace(run, nbytes=size), uncast)
        values = Weights.over(uncast, (-1,), self.info.dtype)
        result = Weights.over(memory, (-1,), self.dtype)
        cast(values, result)
        if values.has_nan():
            raise self.nan()
        # An infinity stays one: more of them than before are finite numbers that became infinite.
        if not result.is_finite() and result.infinities() > values.infinities():
            raise self.beyond()

    def release(self) -> None:
        self._tensor.release()


class RecordedCast(CastTensor):
    """The tensor `name` of a container, which its record says is `info`, rounded."""

    memory = "of another record"

    def __init__(self, tensor: RunsOfTensor, info: TensorInfo, name: str, dtype: str) -> None:
        super().__init__(tensor, info, dtype)
        self._name = name

    def nan(self) -> DsvdError:
        return self._refused("a NaN")

    def beyond(self) -> DsvdError:
        return self._refused(f"numbers beyond the range of {self.dtype}")

    def _refused(self, what: str) -> DsvdError:
        return ContainerError(
            f"tensor {self._name!r} is a cast of {self.info.name!r}, which holds {what}"
        )
