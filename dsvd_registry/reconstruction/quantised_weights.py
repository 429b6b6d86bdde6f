"""Codes of weights by the rule of their record, with the scales that the container stores.

Source: spec/dsvd-container-v1.md, "Quantised weights".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..codec.quantise import Codes, Quantised, joined, quantise, scale_values, usable
from ..codec.weights import Float32
from ..container.quantisation import Nested, Quantisation
from ..container.reader import Container
from ..container.records import QuantisedRecord
from ..errors import ContainerError
from ..fs import Bytes

ReadRaw = Callable[[int], tuple[str, Bytes]]


def raw_of(container: Container) -> ReadRaw:
    """The tensors that a container stores raw."""
    return lambda place: (container.header.tensors[place].dtype, container.raw(place))


class Quantiser:
    """The rule of one tensor, ready to use in any thread.

    `read`: the dtype and the bytes of the tensor of a record. Raises `ContainerError` for a bad map,
    and what `read` raises.
    """

    def __init__(self, record: QuantisedRecord, read: ReadRaw) -> None:
        rule = record.quantisation
        self.rule = rule
        self._blocks = rule.blocks(record.weights_shape)
        self._scales = np.ones(1, np.float32) if rule.scale is None else _scales(read, rule)
        self._values: Float32 | None = None
        if rule.values is not None:
            self._values = _floats(read, rule.values)
            if not (np.isfinite(self._values).all() and (np.diff(self._values) > 0).all()):
                raise ContainerError(f"{record.name!r}: the values of its map do not ascend")

    @property
    def nbytes(self) -> int:
        """The memory that the scales take."""
        return self._scales.nbytes

    def codes(self, weights: Float32, first: int) -> Quantised:
        """The codes of flat weights, the first of which is element number `first`."""
        scales = self._scales[self._blocks.of(first, len(weights))]
        return quantise(weights, scales, self.rule.grid, self.rule.rule, self._values)

    def bytes_of(self, codes: Codes) -> Codes:
        """The bytes of codes, as the tensor has them."""
        return joined(codes, self.rule.bits, self.rule.order == "low")


def _scales(read: ReadRaw, rule: Quantisation) -> Float32:
    """The scale of each block in binary32; +inf for one that is not positive or not finite."""
    scale = rule.scale
    assert scale is not None
    dtype, data = read(scale.tensor)
    with np.errstate(all="ignore"):
        if scale.nested is None:
            found = scale_values(data, dtype)
        else:
            found = _nested(read, np.frombuffer(data, np.uint8), scale.nested)
        found = found * np.float32(scale.unit)
        if scale.second is not None:
            second = _floats(read, scale.second)
            found = found * second if scale.second_rule == "multiply" else found / second
    return usable(found)


def _nested(read: ReadRaw, codes: Codes, nested: Nested) -> Float32:
    values = _floats(read, nested.values)
    scales = _floats(read, nested.scales)
    of = scales[np.arange(len(codes)) // nested.block]
    found: Float32 = values[codes] * of + np.float32(nested.offset)
    return found


def _floats(read: ReadRaw, place: int) -> Float32:
    return np.frombuffer(read(place)[1], "<f4").astype(np.float32)
