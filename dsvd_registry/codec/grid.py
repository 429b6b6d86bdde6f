"""Real factors onto an integer grid, each coefficient adding the same squared error.

Steps p = q = 2^(e/2) with 2^e near 12 D / s: reverse water-filling at distortion D per coefficient,
so that small components get small integers and compress to few bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .bound import EXACT_FP64, MAX_EXPONENT, MAX_MAGNITUDE, MIN_EXPONENT, magnitude_bound
from .exact import Components


class OutsideGrid(Exception):
    """The delta cannot be written within the limits of the grid."""


def component_grid(a: torch.Tensor, b: torch.Tensor, distortion: float) -> Components:
    """Integers of balanced factors `a` (r, m) and `b` (r, n), float64, at `distortion` > 0.

    A component whose integers would all be zero gets the largest step at which they are not.
    Raises `OutsideGrid`.
    """
    strengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    wanted = torch.log2(12 * distortion / strengths)
    # round(x / p) is not zero where x > p / 2; the margin keeps ties and rounding away.
    peaks = torch.minimum(a.abs().amax(1), b.abs().amax(1))
    largest = torch.floor(2 * torch.log2(1.999 * peaks))
    exponents = torch.minimum(torch.round(wanted), largest).clamp(MIN_EXPONENT, MAX_EXPONENT)
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
    tops_a, tops_b = (maxima.tolist() for maxima in components.maxima())
    if magnitude_bound(components.exponents.tolist(), tops_a, tops_b) >= EXACT_FP64:
        raise OutsideGrid
    return components


def element_grid(delta: torch.Tensor, error: float) -> tuple[np.ndarray, int]:
    """Integers (flat int32) and exponent of `delta`, float64, to a Frobenius error of at most `error`.

    Raises `OutsideGrid`.
    """
    flat = delta.reshape(-1)
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
