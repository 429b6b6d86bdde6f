"""The limits of the grid, and when a product of integer factors is exact.

That is judged before any number is multiplied.

In pure Python integers, without torch: the container's reader judges a file by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence

EXACT_FP32 = 1 << 24
EXACT_FP64 = 1 << 53
MAX_MAGNITUDE = (1 << 31) - 1  # of an integer of the grid
MIN_EXPONENT = -126
MAX_EXPONENT = 126  # also with the bit lengths of the operands added


def magnitude_bound(exponents: Sequence[int], max_a: Sequence[int], max_b: Sequence[int]) -> int:
    """M = sum over components of max|a| * max|b| * 2^(e - min e), an exact integer.

    No partial sum of the product, in any order, is larger in magnitude (in units of 2^(min e)).
    """
    least = min(exponents)
    return sum(a * b << (e - least) for e, a, b in zip(exponents, max_a, max_b, strict=True))
