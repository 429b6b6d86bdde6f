"""Prediction of a source: the container's result, improved by the residual's own components.

Elements are predicted a run at a time; several threads may work on one tensor.
"""

from __future__ import annotations

import numpy as np

from ..codec.components import Components
from ..codec.exact_product import DeltaProduct, cast
from ..codec.weights import WORDS, Memory, Weights, scratch
from ..container.records import BasedRecord, LowRankRecord, QuantisedRecord
from ..errors import ContainerError
from ..residual.kernels import Kernels
from ..residual.numpy_kernels import NUMPY
from ..residual.ordered import FORMATS
from ..residual.predicted import Predicted, predicted_codes
from ..residual.records import ResidualTensor
from ..residual.run import ELEMENTS
from .reconstruction import ResultTensor, columns_of


class Prediction:
    """The prediction of a tensor from its lossy `result`, which must be prepared.

    `own`: the residual's components of the tensor, if it has any. Those of quantised weights change
    the weights before they are quantised. `kernels`: those for its dtype.
    """

    def __init__(
        self,
        result: ResultTensor,
        tensor: ResidualTensor,
        own: Components | None,
        kernels: Kernels = NUMPY,
    ) -> None:
        assert isinstance(result.record, BasedRecord)
        self._result, self._tensor, self._kernels = result, tensor, kernels
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
        begin, count = number * ELEMENTS, self._tensor.run_elements(number)
        first, end = begin // self._row, -(-(begin + count) // self._row)
        skipped = begin - first * self._row
        own = slice(skipped, skipped + count)
        record = self._result.record
        if isinstance(record, QuantisedRecord):
            return self._codes(record, first, end, own)
        return self._floats(first, end, own)

    def _codes(self, record: QuantisedRecord, first: int, end: int, own: slice) -> Predicted:
        """Elements `own` of rows of quantised weights."""
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
        codes = quantiser.codes(weights[own], first * self._row + own.start)
        return predicted_codes(codes, quantiser.rule.grid)

    def _floats(self, first: int, end: int, own: slice) -> Predicted:
        """Elements `own` of rows of numbers, which are rounded from float32."""
        tensor, shape = self._tensor, (end - first, self._row)
        rows = self._row // self._columns
        memory = scratch.memory("unrounded", 4 * shape[0] * shape[1])
        self._result.unrounded(first * rows, end * rows, memory)
        unrounded = Weights.over(memory, shape, "F32")
        if self._product is not None:
            below = _rounded(unrounded, tensor.dtype)
            unrounded = Weights(scratch.array("on top", shape, np.float32), "F32")
            self._product.run(first, end).add_to(below, unrounded)
        words = Weights(unrounded.words.reshape(-1)[own], "F32")
        found = self._kernels.rounded(words, FORMATS[tensor.dtype])
        if not Weights(found.bits.view(WORDS[tensor.dtype]), tensor.dtype).is_finite():
            raise ContainerError(f"tensor {tensor.name!r} would be predicted NaN or infinity")
        return found


def whole(prediction: Prediction, tensor: ResidualTensor) -> Memory:
    """All bytes of a prediction, in memory of their own."""
    memory = np.empty(tensor.elements, tensor.of.unsigned)
    for number in range(tensor.runs):
        bits = prediction.run(number).bits
        memory[number * ELEMENTS :][: len(bits)] = bits
    return memory.view(np.uint8)


def _rounded(unrounded: Weights, dtype: str) -> Weights:
    """Numbers rounded to a dtype, in memory that the thread's next call overwrites."""
    if dtype == "F32":
        return unrounded
    result = Weights(scratch.array("rounded", unrounded.words.shape, WORDS[dtype]), dtype)
    cast(unrounded, result)
    return result
