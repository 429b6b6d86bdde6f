"""The base's part of a tensor: the bytes of one or more base tensors, through the record's view."""

from __future__ import annotations

import numpy as np

from ..checkpoint.dtypes import tensor_bytes
from ..codec.scratch import Memory
from ..container.records import BasedRecord
from .base_weights import BaseReader


class ViewedBase:
    """The viewed base of one record as bytes in C order, copied a run at a time.

    Opening it may raise `BaseMismatch`. Several threads may copy at once.
    """

    def __init__(self, record: BasedRecord, base: BaseReader) -> None:
        self._record, self._base = record, base
        arrays = [base.read(tensor) for tensor in record.base]
        first, view = record.base[0], record.view
        self._runs: list[memoryview] = arrays
        self._transposed: np.ndarray | None = None
        if view.kind == "slice":
            row = tensor_bytes(first.dtype, first.shape) // first.shape[0]
            self._runs = [arrays[0][view.first * row : (view.first + view.rows) * row]]
        elif view.kind == "transpose" and len(arrays[0]):
            words = np.dtype(f"u{tensor_bytes(first.dtype, (1,))}")
            self._transposed = np.frombuffer(arrays[0], words).reshape(first.shape).T

    def copy(self, first: int, memory: Memory) -> None:
        """Fill `memory` with the bytes from number `first` on."""
        if self._transposed is not None:
            _copy_rows(self._transposed, first, memory)
            return
        for run in self._runs:
            here = run[first : first + len(memory)]
            if here:
                memory[: len(here)] = np.frombuffer(here, np.uint8)
            memory, first = memory[len(here) :], max(0, first - len(run))

    def release(self) -> None:
        """Let the system have the memory of the base tensors back; what is copied is copied."""
        for tensor in self._record.base:
            self._base.release(tensor)


def _copy_rows(array: np.ndarray, first: int, memory: Memory) -> None:
    """Bytes of `array`, whatever its strides, as they would lie in C order."""
    row = array.shape[1] * array.itemsize
    begin, end = first // row, -(-(first + len(memory)) // row)
    rows = np.ascontiguousarray(array[begin:end]).reshape(-1).view(np.uint8)
    memory[:] = rows[first - begin * row :][: len(memory)]
