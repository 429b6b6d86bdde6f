"""Ranks: the energy rule of Delta-SVD, and the noise rank of half precision."""

from __future__ import annotations

import math

import torch

HALF_PRECISION = {
    torch.float16: (10, -14),
    torch.bfloat16: (7, -126),
}  # mantissa bits, least exponent


def energy(singular_values: torch.Tensor, rank: int) -> float:
    """The energy E(t) = (s_1 + ... + s_t) / (sum of all) for t = `rank`.

    The singular values themselves are summed, not their squares. `singular_values`: float64,
    falling. Source: Delta-SVD, arXiv 2508.16863, section 3.
    """
    return min(1.0, float(singular_values[:rank].sum() / singular_values.sum()))


def tau_rank(singular_values: torch.Tensor, tau: float, shape: tuple[int, ...]) -> int:
    """The tau rank: the smallest t >= 1 with E(t) >= tau; for tau = 1 the numerical rank.

    `singular_values`: float64 (min(shape),), falling, the first one positive. The numerical rank is
    the number of s > s_1 * max(m, n) * 2^-52.
    """
    if tau == 1:
        threshold = float(singular_values[0]) * max(shape) * 2.0**-52
        return max(1, int((singular_values > threshold).sum()))
    sums = singular_values.cumsum(0)
    return min(int((sums < tau * sums[-1]).sum()) + 1, len(singular_values))


def noise_rank(singular_values: torch.Tensor, variance: float, shape: tuple[int, int]) -> int:
    """The noise rank: the number of singular values above rounding noise of `variance` per element.

    A random (m, n) matrix of standard deviation sigma has singular values up to
    sigma (sqrt(m) + sqrt(n)).
    """
    threshold = math.sqrt(variance) * (math.sqrt(shape[0]) + math.sqrt(shape[1]))
    return int((singular_values > threshold).sum())


def mean_square_ulp(side: torch.Tensor) -> float:
    """The mean of the squared spacing of numbers at each element; 0 for float32.

    Rounding to half precision adds an error whose variance is a twelfth of this.
    """
    if side.dtype not in HALF_PRECISION or not side.numel():
        return 0.0
    mantissa, least = HALF_PRECISION[side.dtype]
    # A float32 without its sign and mantissa bits is the power of two below its magnitude.
    powers = side.to(torch.float32).view(torch.int32).bitwise_and_(0x7F800000).view(torch.float32)
    powers.clamp_min_(2.0**least)
    return float(torch.square(powers.to(torch.float64)).mean()) * 4.0**-mantissa
