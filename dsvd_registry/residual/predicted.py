"""Predictions of a run of elements, and differences of sources from them (spec, "Differences").

Floats that are close differ by a small integer, also across zero and across powers of two. The codes
of quantised weights stand in the order of their values, too.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..codec.quantise import Codes, Grid, Quantised, code_bits, order_of
from .ordered import Bits, Exponents, FloatFormat, differences, exponents, restored


class ElementFormat(Protocol):
    """The format of a tensor's elements: `width` bytes each in memory, of which `bits` bits are used.

    `last_exponent`: the largest key that a prediction may have.
    """

    @property
    def width(self) -> int: ...
    @property
    def bits(self) -> int: ...
    @property
    def last_exponent(self) -> int: ...
    @property
    def unsigned(self) -> np.dtype[np.unsignedinteger]: ...


class Predicted(Protocol):
    """The prediction of a run. A key of an element tells how far its source is likely to be from it."""

    @property
    def of(self) -> ElementFormat: ...

    def __len__(self) -> int: ...

    def differs(self, source: Bits) -> bool:
        """True if an element of the source is not as predicted."""

    def keys(self, part: slice) -> Exponents:
        """The key of each element."""

    def differences(self, source: Bits, part: slice) -> Bits:
        """The steps from the predictions of a part to its sources, in zigzag form."""

    def restored(self, coded: Bits, part: slice) -> Bits:
        """Inverse of `differences`; may overwrite `coded`."""


class PredictedFloats:
    """Floats, whose key is the exponent of the prediction."""

    def __init__(self, bits: Bits, of: FloatFormat) -> None:
        self._bits, self.of = bits, of

    def __len__(self) -> int:
        return len(self._bits)

    def differs(self, source: Bits) -> bool:
        return not np.array_equal(source, self._bits)

    def keys(self, part: slice) -> Exponents:
        return exponents(self._bits[part], self.of)

    def differences(self, source: Bits, part: slice) -> Bits:
        return differences(source, self._bits[part], self.of)

    def restored(self, coded: Bits, part: slice) -> Bits:
        return restored(coded, self._bits[part], self.of)


class CodeFormat:
    """Codes of quantised weights, a byte each in memory."""

    width = 1
    last_exponent = 255
    unsigned = np.dtype(np.uint8)

    def __init__(self, bits: int) -> None:
        self.bits = bits


CODES = {8: CodeFormat(8), 4: CodeFormat(4)}


class PredictedCodes:
    """Codes, whose key is the distance of the weight from the nearest border between codes.

    A step across that border is the likeliest one, and has the smallest zigzag form.
    """

    def __init__(self, predicted: Quantised, grid: Grid) -> None:
        self.of = CODES[code_bits(grid)]
        self._predicted = predicted
        self._mask = np.uint8((1 << self.of.bits) - 1)
        self._places, self._codes = order_of(grid)

    def __len__(self) -> int:
        return len(self._predicted.codes)

    def differs(self, source: Bits) -> bool:
        return not np.array_equal(source, self._predicted.codes)

    def keys(self, part: slice) -> Exponents:
        return self._predicted.keys[part]

    def differences(self, source: Bits, part: slice) -> Bits:
        off = self._places[source] - self._places[self._predicted.codes[part]]
        np.negative(off, out=off, where=self._predicted.up[part])
        off &= self._mask
        coded: Bits = _ZIGZAG[self.of.bits][off]
        return coded

    def restored(self, coded: Bits, part: slice) -> Bits:
        off = _BACK[self.of.bits][coded]
        np.negative(off, out=off, where=self._predicted.up[part])
        off += self._places[self._predicted.codes[part]]
        off &= self._mask
        source: Bits = self._codes[off]
        return source


def _tables(bits: int) -> tuple[Codes, Codes]:
    """The zigzag form of each difference modulo 2^bits, and its inverse."""
    off = np.arange(1 << bits)
    signed = np.where(off >> (bits - 1), off - (1 << bits), off)
    coded = np.where(signed < 0, -2 * signed - 1, 2 * signed)
    back = np.empty_like(off)
    back[coded] = off
    return coded.astype(np.uint8), back.astype(np.uint8)


_ZIGZAG, _BACK = ({bits: _tables(bits)[way] for bits in CODES} for way in (0, 1))
