"""Prediction of a source: the container's result, improved by the residual's own components.

Elements are predicted a run at a time; several threads may work on one tensor.
"""

from __future__ import annotations

import numpy as np

from ..codec.components import Components
from ..codec.exact_product import DeltaProduct, cast
from ..codec.weights import WORDS, Memory, Weights, scratch
from ..container.records import BasedRecord, LowRankRecord
from ..errors import ContainerError
from ..residual.ordered import Predicted
from ..residual.records import ResidualTensor
from ..residual.run import ELEMENTS
from .file_plan import Run
from .reconstruction import ResultTensor, columns_of


class Prediction:
    """The prediction of a tensor from its lossy `result`, which must be prepared.

    `own`: the residual's components of the tensor, if it has any.
    """

    def __init__(
        self, result: ResultTensor, tensor: ResidualTensor, own: Components | None
    ) -> None:
        assert isinstance(result.record, BasedRecord)
        self._result, self._tensor = result, tensor
        self._product = None if own is None else DeltaProduct(own)
        self._columns = columns_of(result.record)
        by_rows = own is not None or isinstance(result.record, LowRankRecord)
        self._row = tensor.matrix_shape[1] if by_rows else 1

    @property
    def prepared_bytes(self) -> int:
        """The memory that the components take, without that of the result."""
        return 0 if self._product is None else self._product.nbytes

    def run(self, number: int) -> Predicted:
        """The numbers of run `number`; the thread's next call overwrites them.

        Raises `ContainerError` if the result would not be finite, and `BaseMismatch`.
        """
        tensor = self._tensor
        begin, count = number * ELEMENTS, tensor.run_elements(number)
        first, end = begin // self._row, -(-(begin + count) // self._row)
        shape = end - first, self._row
        rows = self._row // self._columns
        result = Weights(scratch.array("predicted", shape, WORDS[tensor.dtype]), tensor.dtype)
        memory = result.words.reshape(-1).view(np.uint8)
        run = Run(first * rows, end * rows, memory.nbytes)
        unrounded = result
        if tensor.of.cut:
            unrounded = Weights(scratch.array("unrounded", shape, np.float32), "F32")
        if self._product is not None:
            self._result.fill(run, memory)
            below = result
            result = Weights(scratch.array("on top", shape, WORDS[tensor.dtype]), tensor.dtype)
            unrounded = unrounded if tensor.of.cut else result
            self._product.run(first, end).add_to(below, unrounded)
            if tensor.of.cut:
                cast(unrounded, result)
            if not result.is_finite():
                raise ContainerError(f"tensor {tensor.name!r} would be predicted NaN or infinity")
        elif tensor.of.cut:
            self._result.fill_both(run, memory, unrounded.words.reshape(-1).view(np.uint8))
        else:
            self._result.fill(run, memory)
        skipped = begin - first * self._row
        own = slice(skipped, skipped + count)
        bits = result.words.reshape(-1)[own].view(tensor.of.unsigned)
        words = unrounded.words.reshape(-1)[own].view(np.uint32)
        return Predicted.rounded(bits, words, tensor.of)


def whole(prediction: Prediction, tensor: ResidualTensor) -> Memory:
    """All bytes of a prediction, in memory of their own."""
    memory = np.empty(tensor.elements, tensor.of.unsigned)
    for number in range(tensor.runs):
        bits = prediction.run(number).bits
        memory[number * ELEMENTS :][: len(bits)] = bits
    return memory.view(np.uint8)
