"""The limits of the integer grid, and the bound that proves a product of integer factors exact.

The bound is computed before anything is multiplied, in Python integers and without torch: the
container's reader applies the same rule to a file.
"""

from __future__ import annotations

from collections.abc import Sequence

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
