"""A delta on the integer grid: components of low rank, or one integer for each element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .exactness import EXACT_FP32, magnitude_bound

BLOCK_ELEMENTS = 1 << 16  # of factors, where each number is looked at alone


@dataclass(frozen=True)
class Components:
    """r components: integers `a` int32 (r, m) and `b` int32 (r, n), `exponents` int64 (r,).

    The delta is the sum of 2^e a b^T over them.
    """

    a: npt.NDArray[np.int32]
    b: npt.NDArray[np.int32]
    exponents: npt.NDArray[np.int64]

    def maxima(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """max|a_c| and max|b_c|, int64 (r,)."""
        # Of both ends apart: the magnitude of the least int32 is not an int32.
        largest_a, largest_b = (
            np.maximum(factor.max(axis=1).astype(np.int64), -factor.min(axis=1).astype(np.int64))
            for factor in (self.a, self.b)
        )
        return largest_a, largest_b


@dataclass(frozen=True)
class Elements:
    """One integer for each element, flat int32, times 2^exponent."""

    values: npt.NDArray[np.int32]
    exponent: int

    def run(self, first: int, end: int) -> Elements:
        """Elements first..end-1 alone, over the same memory."""
        return Elements(self.values[first:end], self.exponent)

    def fit_fp32(self) -> bool:
        """Whether each is a float32: an integer of 24 bits times a power of two is."""
        values = self.values
        return not values.size or max(int(values.max()), -int(values.min())) < EXACT_FP32


GridDelta = Components | Elements


def fit_fp32(components: Components) -> bool:
    """Whether it is proved that their product is exact in fp32. The choice never changes a bit."""
    max_a, max_b = (maxima.tolist() for maxima in components.maxima())
    exponents = components.exponents.tolist()
    bound = magnitude_bound(exponents, max_a, max_b)
    if bound.bit_length() + min(exponents) > 127:  # fp64 reaches further than fp32
        return False
    return bound < EXACT_FP32 or _row_bound(components) < EXACT_FP32


def balanced(
    components: Components, dtype: type[np.float32] | type[np.float64]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """a and b, (r, m) and (r, n), in `dtype`, each with half of the powers of two in it.

    With the least power on one side, every term of the product, and every sum of terms, is 0 or at
    least 2^-126 and below 2^127: no number on the way is subnormal, whatever a library makes of those.
    """
    least = int(components.exponents.min())
    shifts = components.exponents - least
    half = shifts // 2
    return (
        _scaled(components.a, half + least, dtype),
        _scaled(components.b, shifts - half, dtype),
    )


def _row_bound(components: Components) -> float:
    """Cauchy-Schwarz on the balanced factors: the largest row norm of a times that of b.

    It bounds the sum of the magnitudes of any subset of the terms too. The margin covers the
    rounding of the norms themselves.
    """
    shifts = components.exponents - components.exponents.min()
    largest = 1 + 1e-9
    for factor, half in ((components.a, shifts // 2), (components.b, shifts - shifts // 2)):
        squares = np.zeros(factor.shape[1])
        scales = np.ldexp(1.0, half)[:, None]
        step = max(1, BLOCK_ELEMENTS // factor.shape[1])
        for first in range(0, len(factor), step):
            block = factor[first : first + step].astype(np.float64)
            block *= scales[first : first + step]
            squares += np.einsum("ci,ci->i", block, block)
        largest *= float(np.sqrt(squares.max()))
    return largest


def _scaled(
    factor: npt.NDArray[np.int32],
    exponents: npt.NDArray[np.int64],
    dtype: type[np.float32] | type[np.float64],
) -> npt.NDArray[np.floating]:
    """Integers (r, m) times 2^exponent, exact: in range by the bound, and no mantissa bit moves."""
    scaled = np.empty(factor.shape, dtype)
    scales = np.ldexp(1.0, exponents).astype(dtype)[:, None]
    np.multiply(factor, scales, out=scaled, dtype=dtype, casting="unsafe")
    return scaled
