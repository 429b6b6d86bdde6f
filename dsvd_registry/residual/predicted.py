"""Predictions of a run of elements, and differences of sources from them (spec, "Prediction").

Between an element and the next one there is a border, where rounding takes the other one. What was
rounded is known: a step across the nearest border is the likeliest one, and the nearer that border
is, the likelier is a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..codec.quantise import Grid, Quantised
from .ordered import CODES, Bits, ElementFormat, FloatFormat, signs

Classes = npt.NDArray[np.unsignedinteger[Any]]
TILE = 1 << 16  # elements that stay in the cache


@dataclass(frozen=True)
class Predicted:
    """The predicted elements of a run, flat.

    `bits`: of the elements. `up`: whether the nearest border is that to larger ones; None if no
    border is (F32). `classes`: elements of one class are likely to be as far from their source.
    """

    of: ElementFormat
    bits: Bits
    up: npt.NDArray[np.bool_] | None
    classes: Classes

    def __len__(self) -> int:
        return len(self.bits)

    def part(self, part: slice) -> Predicted:
        """The elements of a slice, sharing the memory of all."""
        up = None if self.up is None else self.up[part]
        return Predicted(self.of, self.bits[part], up, self.classes[part])


def predicted_floats(bits: Bits, unrounded: Bits, of: FloatFormat) -> Predicted:
    """Predicted numbers, and the float32 numbers that they are rounded from, as uint32."""
    classes = np.empty(len(bits), np.uint16)
    if not of.cut:
        for part in tiles(len(bits)):
            classes[part] = (bits[part] >> of.mantissa) & of.last_exponent
        return Predicted(of, bits, None, classes)
    up = np.empty(len(bits), np.bool_)
    cut_off: Bits = unrounded.astype("<u4", copy=False).view("<u2")[::2]
    for part in tiles(len(bits)):
        low = np.left_shift(cut_off[part], 16 - of.cut)  # the bits cut off, the highest first
        np.less((low ^ bits[part]), 1 << 15, out=up[part])
        # Nearer to the border than a quarter of a step, if the two highest of the bits differ.
        close = low << 1
        close ^= low
        close >>= 15
        own = classes[part]
        np.right_shift(bits[part], of.mantissa, out=own)
        own &= of.last_exponent
        own <<= 1
        own |= close
    return Predicted(of, bits, up, classes)


def predicted_codes(quantised: Quantised, grid: Grid) -> Predicted:
    """Predicted codes of weights."""
    return Predicted(CODES[grid], quantised.codes, quantised.up, quantised.classes)


def differences(source: Bits, predicted: Predicted) -> Bits:
    """The steps from each prediction to its source, in zigzag form; one across the border is 1."""
    of = predicted.of
    off = of.places(source)
    off -= of.places(predicted.bits)
    _turn(off, predicted)
    spare = 8 * of.width - of.bits
    off <<= spare
    turned = signs(off)
    off <<= 1
    off ^= turned
    off >>= spare
    return off


def restored(coded: Bits, predicted: Predicted) -> Bits:
    """Inverse of `differences`; may overwrite `coded`."""
    negative = coded & 1
    coded >>= 1
    coded ^= np.negative(negative, out=negative)  # all bits, or none
    _turn(coded, predicted)
    coded += predicted.of.places(predicted.bits)
    return predicted.of.at(coded)


def _turn(off: Bits, predicted: Predicted) -> None:
    """Negate differences in place where the border is up, so that a step across it is negative."""
    if predicted.up is not None:
        turned = predicted.up.astype(off.dtype)
        np.negative(turned, out=turned)  # all bits, or none
        off ^= turned
        off -= turned


def tiles(elements: int) -> Iterator[slice]:
    """Slices of elements small enough to stay in the cache, and to need no new memory pages."""
    for first in range(0, elements, TILE):
        yield slice(first, min(first + TILE, elements))
