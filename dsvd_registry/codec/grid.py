"""Real factors onto an integer grid.

Steps p = q = 2^(e/2), each e where one more bit of the component buys the same fall of the squared
error as in any other: reverse water-filling. Where the grid is fine that is 2^e = 12 D / s, at which
each coefficient adds the distortion D; weak components get coarse steps, and compress to few bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .bound import EXACT_FP64, MAX_EXPONENT, MAX_MAGNITUDE, MIN_EXPONENT, magnitude_bound
from .exact import Components
from .rate import BITS_PER_NAT, entropy, squared_error

COARSER = 3  # steps of e tried beyond the fine grid's, and one finer


class OutsideGrid(Exception):
    """The delta cannot be written within the limits of the grid."""


Sizes = tuple[int | torch.Tensor, int | torch.Tensor]  # m and n, of all or of each component


def component_costs(
    strengths: torch.Tensor, shape: Sizes, exponents: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared error and bits of components s u v^T, u and v spread evenly, with steps 2^(e/2).

    `strengths` s: float64; `exponents` e: broadcast against it; results of their common shape.
    """
    scaled = strengths * torch.exp2(-exponents)
    ratios = [torch.sqrt(scaled / size) for size in shape]
    rows, columns = (
        size * squared_error(ratio) * torch.exp2(exponents)
        for size, ratio in zip(shape, ratios, strict=True)
    )
    bits = [size * entropy(ratio) for size, ratio in zip(shape, ratios, strict=True)]
    return strengths * (rows + columns) + rows * columns, bits[0] + bits[1]


def best_exponents(
    strengths: torch.Tensor, shape: Sizes, distortion: float | torch.Tensor
) -> torch.Tensor:
    """The e of each component, float64, that costs least where a bit is worth 2 ln 2 D.

    `distortion` D: one, or some that are broadcast against `strengths`.
    """
    best = torch.round(torch.log2(12 * distortion / strengths)) - 1
    least = torch.full_like(best, math.inf)
    for exponents in [best + step for step in range(COARSER + 2)]:
        errors, bits = component_costs(strengths, shape, exponents)
        cost = errors + BITS_PER_NAT * distortion * bits
        best = torch.where(cost < least, exponents, best)
        least = torch.minimum(cost, least)
    return best


def component_grid(a: torch.Tensor, b: torch.Tensor, distortion: float) -> Components:
    """Integers of balanced factors `a` (r, m) and `b` (r, n), float64, at `distortion` > 0.

    A component whose integers would all be zero gets the largest step at which they are not.
    Raises `OutsideGrid`.
    """
    strengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    wanted = best_exponents(strengths, (a.shape[1], b.shape[1]), distortion)
    # round(x / p) is not zero where x > p / 2; the margin keeps ties and rounding away.
    peaks = torch.minimum(a.abs().amax(1), b.abs().amax(1))
    largest = torch.floor(2 * torch.log2(1.999 * peaks))
    exponents = torch.minimum(wanted, largest).clamp(MIN_EXPONENT, MAX_EXPONENT)
    steps = torch.exp2(exponents / 2)[:, None]
    integers = [torch.round(factor / steps) for factor in (a, b)]
    maxima = [factor.abs().amax(1) for factor in integers]
    tops = exponents + sum(torch.frexp(largest).exponent for largest in maxima)
    if (
        any((m < 1).any() or (m > MAX_MAGNITUDE).any() for m in maxima)
        or (tops > MAX_EXPONENT).any()
    ):
        raise OutsideGrid
    one, two = (factor.to(torch.int32).numpy() for factor in integers)
    components = Components(one, two, exponents.to(torch.int64).numpy())
    tops_a, tops_b = (m.to(torch.int64).tolist() for m in maxima)
    if magnitude_bound(components.exponents.tolist(), tops_a, tops_b) >= EXACT_FP64:
        raise OutsideGrid
    return components


def grid_error(a: torch.Tensor, b: torch.Tensor, components: Components) -> float:
    """About the squared Frobenius distance of the components from a^T b.

    As if the errors of one factor were at right angles to each other, as those of rounding nearly
    are: no matrix is built.
    """
    steps = torch.from_numpy(np.exp2(components.exponents / 2))[:, None]
    true = [torch.square(side).sum(1) for side in (a, b)]
    off = [
        torch.square(side - torch.from_numpy(integers) * steps).sum(1)
        for side, integers in zip((a, b), (components.a, components.b), strict=True)
    ]
    return float((true[0] * off[1] + off[0] * true[1] + off[0] * off[1]).sum())


def element_grid(delta: torch.Tensor, error: float) -> tuple[np.ndarray, int]:
    """Integers (flat int32) and exponent of `delta` to a Frobenius error of at most `error`.

    Raises `OutsideGrid`.
    """
    flat = delta.reshape(-1).to(torch.float64)
    exponent = math.floor(math.log2(error * math.sqrt(12 / flat.numel()))) + 2
    # A step at which the largest element is still seen; never all zero.
    exponent = min(exponent, math.floor(math.log2(float(flat.abs().max()))))
    while exponent >= MIN_EXPONENT:
        integers = torch.round(flat * 2.0**-exponent)
        maximum = float(integers.abs().max())
        off = float(torch.linalg.vector_norm(flat - integers * 2.0**exponent))
        if maximum > MAX_MAGNITUDE or exponent + math.log2(maximum) + 1 > MAX_EXPONENT:
            break
        if off <= error:
            return integers.to(torch.int32).numpy(), exponent
        exponent -= 1
    raise OutsideGrid
