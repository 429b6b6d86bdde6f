"""Floats as integers in the order of their values, and differences of these (spec, "Differences").

Floats that are close differ by a small integer, also across zero and across powers of two. The
mapping is a bijection of bit patterns, so NaN, infinities and both zeros need no special case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.unsignedinteger[Any]]
Exponents = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FloatFormat:
    """The format of a dtype's numbers: `width` bytes, whose lowest `mantissa` bits are the mantissa."""

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
    def unsigned(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The numpy dtype for the bits of a number."""
        return np.dtype(f"u{self.width}")


FORMATS = {"F32": FloatFormat(4, 23), "F16": FloatFormat(2, 10), "BF16": FloatFormat(2, 7)}


def exponents(bits: Bits, of: FloatFormat) -> Exponents:
    """The exponent bits of each number, uint8, in the same shape."""
    found: Exponents = ((bits >> of.mantissa) & of.last_exponent).astype(np.uint8)
    return found


def differences(source: Bits, prediction: Bits, of: FloatFormat) -> Bits:
    """The steps from each prediction to its source, counted in numbers of the format, in zigzag form."""
    off = _in_order(source, of)
    off -= _in_order(prediction, of)
    signs = _signs(off, of)
    off <<= 1
    off ^= signs
    return off


def restored(coded: Bits, prediction: Bits, of: FloatFormat) -> Bits:
    """Inverse of `differences`; the sources overwrite `coded`."""
    negative = coded & 1
    coded >>= 1
    coded ^= np.negative(negative, out=negative)  # all bits, or none
    coded += _in_order(prediction, of)
    # Ordered numbers with the highest bit set were not negative: only that bit is inverted. All bits
    # of the others are.
    turned = _signs(coded, of)
    np.invert(turned, out=turned)
    turned |= _highest(of)
    coded ^= turned
    return coded


def _in_order(bits: Bits, of: FloatFormat) -> Bits:
    """The ordered form: all bits inverted if the sign bit is set, otherwise only the sign bit."""
    turned = _signs(bits, of)
    turned |= _highest(of)
    turned ^= bits
    return turned


def _signs(bits: Bits, of: FloatFormat) -> Bits:
    """All bits set for numbers with the highest bit set, none for others."""
    signed: npt.NDArray[np.signedinteger[Any]] = bits.view(np.dtype(f"i{of.width}"))
    signed = signed >> (of.bits - 1)
    return signed.view(of.unsigned)


def _highest(of: FloatFormat) -> np.unsignedinteger[Any]:
    return of.unsigned.type(1 << (of.bits - 1))
