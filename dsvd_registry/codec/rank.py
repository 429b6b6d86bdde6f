"""How many components to keep: the energy rule of Delta-SVD, and where rounding noise begins."""

from __future__ import annotations

import math

import torch

HALF_PRECISION = {
    torch.float16: (10, -14),
    torch.bfloat16: (7, -126),
}  # mantissa bits, least exponent


def energy(singular_values: torch.Tensor, rank: int) -> float:
    """E(t) = (s_1 + ... + s_t) / (sum of all), of the singular values themselves, not squared.

    Source: Delta-SVD, arXiv 2508.16863, section 3. `singular_values`: float64, falling.
    """
    return min(1.0, float(singular_values[:rank].sum() / singular_values.sum()))


def tau_rank(singular_values: torch.Tensor, tau: float, shape: tuple[int, ...]) -> int:
    """The smallest t >= 1 with E(t) >= tau; for tau = 1 the numerical rank.

    `singular_values`: float64 (min(shape),), falling, the first positive. The numerical rank counts
    s > s_1 * max(m, n) * 2^-52.
    """
    if tau == 1:
        threshold = float(singular_values[0]) * max(shape) * 2.0**-52
        return max(1, int((singular_values > threshold).sum()))
    sums = singular_values.cumsum(0)
    return min(int((sums < tau * sums[-1]).sum()) + 1, len(singular_values))


def noise_rank(singular_values: torch.Tensor, variance: float, shape: tuple[int, int]) -> int:
    """How many singular values stand above rounding noise of this `variance` for each element.

    A random (m, n) matrix of standard deviation sigma has singular values up to
    sigma (sqrt(m) + sqrt(n)).
    """
    threshold = math.sqrt(variance) * (math.sqrt(shape[0]) + math.sqrt(shape[1]))
    return int((singular_values > threshold).sum())


def mean_square_ulp(side: torch.Tensor) -> float:
    """Mean of the squared spacing of numbers at each element; 0 for float32.

    Rounding to half precision adds an error whose variance is a twelfth of it.
    """
    if side.dtype not in HALF_PRECISION or not side.numel():
        return 0.0
    mantissa, least = HALF_PRECISION[side.dtype]
    # What is left of a float32 without sign and mantissa is the power of two below it.
    powers = side.to(torch.float32).view(torch.int32).bitwise_and_(0x7F800000).view(torch.float32)
    powers.clamp_min_(2.0**least)
    return float(torch.square(powers.to(torch.float64)).mean()) * 4.0**-mantissa
