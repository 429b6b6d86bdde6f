"""A delta on the integer grid: low-rank components, or one integer for each element; its exactness.

The bound that proves a product of integer factors exact is computed before anything is multiplied, in
Python integers: the container's reader applies the same rule to a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EXACT_FP32 = 1 << 24
EXACT_FP64 = 1 << 53
MAX_MAGNITUDE = (1 << 31) - 1  # of an integer of the grid
MIN_EXPONENT = -126
MAX_EXPONENT = 126  # of an exponent plus the bit lengths of its integers


def magnitude_bound(exponents: Sequence[int], max_a: Sequence[int], max_b: Sequence[int]) -> int:
    """M = sum over components of max|a| * max|b| * 2^(e - min e), an exact integer.

    In units of 2^(min e), no partial sum of the product has a larger magnitude, in any order.
    """
    least = min(exponents)
    return sum(a * b << (e - least) for e, a, b in zip(exponents, max_a, max_b, strict=True))


BLOCK_ELEMENTS = 1 << 16  # of a factor, converted to float64 at a time


@dataclass(frozen=True)
class Components:
    """A delta of shape (m, n) as r components: the sum of 2^e a b^T over them.

    `a`: int32 (r, m). `b`: int32 (r, n). `exponents`, the e: int64 (r,).
    """

    a: npt.NDArray[np.int32]
    b: npt.NDArray[np.int32]
    exponents: npt.NDArray[np.int64]

    def maxima(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The largest magnitudes max|a_c| and max|b_c| of each component c, int64 (r,) each."""
        # Negated as int64: the magnitude of the least int32 is not an int32.
        largest_a, largest_b = (
            np.maximum(factor.max(axis=1).astype(np.int64), -factor.min(axis=1).astype(np.int64))
            for factor in (self.a, self.b)
        )
        return largest_a, largest_b


@dataclass(frozen=True)
class Elements:
    """A delta as one integer for each element: `values` (flat int32) times 2^`exponent`."""

    values: npt.NDArray[np.int32]
    exponent: int

    @property
    def nbytes(self) -> int:
        """The memory that the elements take."""
        return int(self.values.nbytes)

    def run(self, first: int, end: int) -> Elements:
        """Elements first..end-1 only, sharing the memory of all."""
        return Elements(self.values[first:end], self.exponent)

    def fit_fp32(self) -> bool:
        """True if float32 holds every element exactly, as an integer of up to 24 bits."""
        values = self.values
        return not values.size or max(int(values.max()), -int(values.min())) < EXACT_FP32


GridDelta = Components | Elements


def fit_fp32(components: Components) -> bool:
    """True if the product of the factors is proved to be exact in fp32.

    Where it is, fp32 and fp64 give the same bits.
    """
    max_a, max_b = (maxima.tolist() for maxima in components.maxima())
    exponents = components.exponents.tolist()
    bound = magnitude_bound(exponents, max_a, max_b)
    if bound.bit_length() + min(exponents) > 127:  # beyond the largest fp32 number
        return False
    return bound < EXACT_FP32 or _row_bound(components) < EXACT_FP32


def balanced(
    components: Components, dtype: type[np.float32] | type[np.float64]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """The factors a (r, m) and b (r, n) in `dtype`, each multiplied by half of the powers of two.

    The least power goes entirely to a. Every term of the product, and every sum of terms, is then 0
    or has a magnitude of at least 2^-126 and below 2^127. No intermediate number is subnormal, so
    it does not matter how a library treats subnormal numbers.
    """
    least = int(components.exponents.min())
    shifts = components.exponents - least
    half = shifts // 2
    return (
        _scaled(components.a, half + least, dtype),
        _scaled(components.b, shifts - half, dtype),
    )


def _row_bound(components: Components) -> float:
    """A bound of the product's elements: the largest column norm of a times that of b.

    By Cauchy-Schwarz on the balanced factors, it also bounds the sum of the magnitudes of any
    subset of the terms. The margin of 1e-9 covers the rounding of the norms themselves.
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
    """Integers (r, m) times 2^exponent, exact: scaling changes no mantissa bit."""
    scaled = np.empty(factor.shape, dtype)
    scales = np.ldexp(1.0, exponents).astype(dtype)[:, None]
    np.multiply(factor, scales, out=scaled, dtype=dtype, casting="unsafe")
    return scaled
