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
Classes = npt.NDArray[np.uint16]


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
    def cut(self) -> int:
        """The lowest bits of a float32 that a number of the format lacks."""
        return 23 - self.mantissa

    @property
    def last_class(self) -> int:
        """The largest class of an element."""
        return 2 * self.last_exponent + 1 if self.cut else self.last_exponent

    @property
    def unsigned(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The numpy dtype for the bits of a number."""
        return np.dtype(f"u{self.width}")


FORMATS = {"F32": FloatFormat(4, 23), "F16": FloatFormat(2, 10), "BF16": FloatFormat(2, 7)}


@dataclass(frozen=True)
class Predicted:
    """Predicted numbers, flat.

    `bits`: of the numbers. `cut_off`: uint16, the bits that rounding cut off the float32 numbers that
    they are rounded from, as the highest bits; None for F32.
    """

    bits: Bits
    cut_off: Bits | None

    @staticmethod
    def rounded(bits: Bits, unrounded: Bits, of: FloatFormat) -> Predicted:
        """Numbers of this format, and the float32 numbers that they are rounded from, as uint32."""
        if not of.cut:
            return Predicted(bits, None)
        low: Bits = unrounded.astype("<u4", copy=False).view("<u2")[::2]
        return Predicted(bits, np.left_shift(low, np.uint16(16 - of.cut)))

    def __len__(self) -> int:
        return len(self.bits)

    def part(self, part: slice) -> Predicted:
        """The numbers of a slice, sharing the memory of all."""
        return Predicted(self.bits[part], None if self.cut_off is None else self.cut_off[part])


def classes(predicted: Predicted, of: FloatFormat) -> Classes:
    """The class of each element: by the exponent, and by whether rounding moved it far or not."""
    found: Classes = ((predicted.bits >> of.mantissa) & of.last_exponent).astype(np.uint16)
    if predicted.cut_off is not None:
        # More than a quarter of a step off, if the two highest of the bits cut off differ.
        far = predicted.cut_off << 1
        far ^= predicted.cut_off
        far >>= 15
        found <<= 1
        found |= far
    return found


def differences(source: Bits, predicted: Predicted, of: FloatFormat) -> Bits:
    """The steps from each prediction to its source, counted in numbers of the format, in zigzag form.

    A step to the side that rounding came from is counted as negative: it is the likelier one.
    """
    off = _in_order(source, of)
    off -= _in_order(predicted.bits, of)
    if predicted.cut_off is not None:
        _turn(off, predicted.bits ^ predicted.cut_off, of)
    signs = _signs(off, of)
    off <<= 1
    off ^= signs
    return off


def restored(coded: Bits, predicted: Predicted, of: FloatFormat) -> Bits:
    """Inverse of `differences`; the sources overwrite `coded`."""
    negative = coded & 1
    coded >>= 1
    coded ^= np.negative(negative, out=negative)  # all bits, or none
    if predicted.cut_off is not None:
        _turn(coded, predicted.bits ^ predicted.cut_off, of)
    coded += _in_order(predicted.bits, of)
    # Ordered numbers with the highest bit set were not negative: only that bit is inverted. All bits
    # of the others are.
    turned = _signs(coded, of)
    np.invert(turned, out=turned)
    turned |= _highest(of)
    coded ^= turned
    return coded


def _turn(off: Bits, signs: Bits, of: FloatFormat) -> None:
    """Negate differences in place, where rounding made the number lower.

    There the highest of the bits cut off is the sign's, so that the highest bit of `signs` is 0.
    """
    above = _signs(signs, of)
    np.invert(above, out=above)
    off ^= above
    off -= above


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
