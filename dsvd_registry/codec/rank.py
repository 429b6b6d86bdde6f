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


def noise_rank(
    singular_values: torch.Tensor, sides: tuple[torch.Tensor, ...], shape: tuple[int, int]
) -> int:
    """How many singular values stand above the rounding noise of the half-precision `sides`.

    Rounding to half precision adds an error of variance ulp^2 / 12 to each element; a random
    (m, n) matrix of standard deviation sigma has singular values up to sigma (sqrt(m) + sqrt(n)).
    """
    variance = sum(_mean_square_ulp(side) / 12 for side in sides)
    threshold = math.sqrt(variance) * (math.sqrt(shape[0]) + math.sqrt(shape[1]))
    return int((singular_values > threshold).sum())


def _mean_square_ulp(side: torch.Tensor) -> float:
    if side.dtype not in HALF_PRECISION:
        return 0.0
    mantissa, least = HALF_PRECISION[side.dtype]
    exponents = torch.frexp(side.to(torch.float64)).exponent - 1
    exponents = torch.where(side == 0, least, exponents).clamp_min(least)
    return float(torch.exp2(2.0 * (exponents - mantissa).to(torch.float64)).mean())
