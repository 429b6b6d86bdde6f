"""Prediction of a source: the container's result, improved by the residual's own components.

Elements are predicted a run at a time; several threads may work on one tensor.
"""

from __future__ import annotations

import numpy as np

from ..codec.components import Components
from ..codec.exact_product import DeltaProduct
from ..codec.weights import Memory, Weights, scratch
from ..container.records import BasedRecord, LowRankRecord, QuantisedRecord
from ..errors import ContainerError
from ..residual.ordered import FORMATS, Bits
from ..residual.predicted import Predicted, PredictedCodes, PredictedFloats
from ..residual.records import ResidualTensor
from ..residual.run import ELEMENTS
from .file_plan import Run
from .reconstruction import ResultTensor, columns_of


class Prediction:
    """The prediction of a tensor from its lossy `result`, which must be prepared.

    `own`: the residual's components of the tensor, if it has any. Those of quantised weights change
    the weights before they are quantised.
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
        """The prediction of run `number`; the thread's next call overwrites it.

        Raises `ContainerError` if the result would not be finite, and `BaseMismatch`.
        """
        record = self._result.record
        if isinstance(record, QuantisedRecord):
            return self._codes(record, number)
        return PredictedFloats(self.bits(number), FORMATS[record.dtype])

    def _codes(self, record: QuantisedRecord, number: int) -> PredictedCodes:
        begin, count = number * ELEMENTS, self._tensor.run_elements(number)
        first, end = begin // self._row, -(-(begin + count) // self._row)
        weights = self._result.weights(record, first * self._row, (end - first) * self._row)
        if self._product is not None:
            shape = end - first, self._row
            memory = scratch.memory("predicted on top", weights.nbytes)
            on_top = Weights.over(memory, shape, "F32")
            with np.errstate(all="ignore"):  # an infinity has a code like any weight
                self._product.run(first, end).add_to(Weights(weights.reshape(shape), "F32"), on_top)
            weights = on_top.words.reshape(-1)
        quantiser = self._result.quantiser
        assert quantiser is not None
        own = weights[begin - first * self._row :][:count]
        return PredictedCodes(quantiser.codes(own, begin), quantiser.rule.grid)

    def bits(self, number: int) -> Bits:
        """The bits of run `number` of floats, flat; the thread's next call overwrites them.

        Raises as `run`.
        """
        tensor, width = self._tensor, self._tensor.of.width
        begin, count = number * ELEMENTS, tensor.run_elements(number)
        first, end = begin // self._row, -(-(begin + count) // self._row)
        memory = scratch.memory("predicted", (end - first) * self._row * width)
        rows = self._row // self._columns
        self._result.fill(Run(first * rows, end * rows, memory.nbytes), memory)
        if self._product is not None:
            shape = end - first, self._row
            below = Weights.over(memory, shape, tensor.dtype)
            memory = scratch.memory("predicted on top", memory.nbytes)
            on_top = Weights.over(memory, shape, tensor.dtype)
            self._product.run(first, end).add_to(below, on_top)
            if not on_top.is_finite():
                raise ContainerError(f"tensor {tensor.name!r} would be predicted NaN or infinity")
        skipped = (begin - first * self._row) * width
        bits: Bits = memory[skipped : skipped + count * width].view(tensor.of.unsigned)
        return bits


def whole(prediction: Prediction, tensor: ResidualTensor) -> Memory:
    """All bytes of a prediction, in memory of their own."""
    memory = np.empty(tensor.elements, tensor.of.unsigned)
    for number in range(tensor.runs):
        bits = prediction.bits(number)
        memory[number * ELEMENTS :][: len(bits)] = bits
    return memory.view(np.uint8)
