"""Elements as integers in the order of their values (spec, "Differences").

Elements that are close differ by a small integer, floats also across zero and across powers of two.
The mapping is a bijection of bit patterns, so NaN, infinities and both zeros need no special case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..codec.quantise import GRIDS, LAST_CLASS, Grid, code_bits, order_of

Bits = npt.NDArray[np.unsignedinteger[Any]]


class ElementFormat(Protocol):
    """The format of a tensor's elements: `width` bytes each in memory, of which `bits` bits are used.

    `last_class`: the largest class that a prediction may have.
    """

    @property
    def width(self) -> int: ...
    @property
    def bits(self) -> int: ...
    @property
    def last_class(self) -> int: ...
    @property
    def unsigned(self) -> np.dtype[np.unsignedinteger[Any]]: ...

    def places(self, bits: Bits) -> Bits:
        """The place of each element among all in the order of their values, in new memory."""

    def at(self, places: Bits) -> Bits:
        """Inverse of `places`, taken modulo 2^bits; may overwrite them."""


@dataclass(frozen=True)
class FloatFormat:
    """The format of a dtype's numbers: `width` bytes, whose lowest `mantissa` bits are the mantissa."""

    dtype: str
    width: int
    mantissa: int

    @property
    def bits(self) -> int:
        """The bits of a number."""
        return 8 * self.width

    @property
    def last_exponent(self) -> int:
        """The largest value of the exponent's bits."""
        return (1 << (self.bits - 1 - self.mantissa)) - 1

    @property
    def cut(self) -> int:
        """The lowest bits of a float32 that a number of the format lacks."""
        return 23 - self.mantissa

    @property
    def last_class(self) -> int:
        """The largest class of a prediction."""
        return 2 * self.last_exponent + 1 if self.cut else self.last_exponent

    @property
    def unsigned(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The numpy dtype for the bits of a number."""
        return np.dtype(f"u{self.width}")

    def places(self, bits: Bits) -> Bits:
        """All bits inverted if the sign bit is set, otherwise only the sign bit."""
        turned = signs(bits)
        turned |= self._highest
        turned ^= bits
        return turned

    def at(self, places: Bits) -> Bits:
        """Inverse of `places`, which it overwrites."""
        turned = signs(places)
        np.invert(turned, out=turned)
        turned |= self._highest
        places ^= turned
        return places

    @property
    def _highest(self) -> np.unsignedinteger[Any]:
        return self.unsigned.type(1 << (self.bits - 1))


class CodeFormat:
    """Codes of quantised weights, a byte each in memory."""

    width = 1
    last_class = LAST_CLASS
    unsigned: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint8)

    def __init__(self, grid: Grid) -> None:
        self.bits = code_bits(grid)
        self._places, self._codes = order_of(grid)

    def places(self, bits: Bits) -> Bits:
        found: Bits = self._places[bits]
        return found

    def at(self, places: Bits) -> Bits:
        """Inverse of `places`, which it overwrites."""
        places &= np.uint8((1 << self.bits) - 1)
        found: Bits = self._codes[places]
        return found


FORMATS = {
    own.dtype: own
    for own in (FloatFormat("F32", 4, 23), FloatFormat("F16", 2, 10), FloatFormat("BF16", 2, 7))
}
CODES = {grid: CodeFormat(grid) for grid in GRIDS}


def signs(bits: Bits) -> Bits:
    """All bits set for elements with the highest bit set, none for others."""
    signed: npt.NDArray[np.signedinteger[Any]] = bits.view(f"i{bits.itemsize}")
    signed = signed >> (8 * bits.itemsize - 1)
    return signed.view(bits.dtype)
