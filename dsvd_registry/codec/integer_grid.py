"""Quantisation of factors and deltas to the integer grid, by rate-distortion.

Both factors of a component have the quantisation step 2^(e/2). By reverse water-filling, e is
chosen so that one more bit lowers the squared error equally in every component. On a fine grid that
gives 2^e = 12 D / s for a component of strength s, and each coefficient adds the distortion D. Weak
components get coarse steps, and compress to few bits. Their coefficients are scaled down before they
are rounded, so that no multiple of the integers is nearer to them than the integers are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from .components import (
    EXACT_FP64,
    MAX_EXPONENT,
    MAX_MAGNITUDE,
    MIN_EXPONENT,
    Components,
    magnitude_bound,
)
from .rate_distortion import best_scale, scaled_bits_and_error

BITS_PER_NAT = 2 * math.log(2)  # dD/dR of a fine grid: -D * BITS_PER_NAT
NOT_ZERO = 1.999  # steps p of up to this many peaks round no peak to zero; 2 leaves no room
COARSER = 3  # values of e tried above that of the fine-grid formula; one below it is tried too


class OutsideGrid(Exception):
    """The delta cannot be written within the limits of the grid."""


Sizes = tuple[int | torch.Tensor, int | torch.Tensor]  # m and n, shared or one for each component


def component_costs(
    strengths: torch.Tensor, shape: Sizes, exponents: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The expected squared error and bits of components s u v^T with quantisation steps 2^(e/2).

    The unit vectors u and v are modelled as evenly spread. `strengths`: s, float64. `exponents`: e,
    broadcast against the strengths; the results have their common shape.
    """
    ratios = _log_ratios(strengths, shape, exponents)
    (bits_a, error_a), (bits_b, error_b) = map(scaled_bits_and_error, ratios)
    error = error_a + error_b - error_a * error_b  # the share that is not kept in both
    return torch.square(strengths) * error, shape[0] * bits_a + shape[1] * bits_b


def _log_ratios(
    strengths: torch.Tensor, shape: Sizes, exponents: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Log2 of the ratio of the standard deviation to the step, in both factors of components."""
    scaled = torch.log2(strengths) - exponents
    for size in shape:
        log_size = torch.log2(size) if isinstance(size, torch.Tensor) else math.log2(size)
        yield (scaled - log_size) / 2


def best_exponents(
    strengths: torch.Tensor, shape: Sizes, distortion: float | torch.Tensor
) -> torch.Tensor:
    """The best e of each component, float64, at the distortion D, where a bit is worth 2 ln 2 D.

    `distortion`: D, one number, or a tensor that is broadcast against `strengths`.
    """
    finest = torch.round(torch.log2(12 * distortion / strengths)) - 1
    steps = torch.arange(COARSER + 2, dtype=torch.float64, device="cpu")
    tried = finest + steps.reshape(-1, *[1] * finest.ndim)
    errors, bits = component_costs(strengths, shape, tried)
    return finest + torch.argmin(errors + BITS_PER_NAT * distortion * bits, dim=0)


def component_grid(a: torch.Tensor, b: torch.Tensor, distortion: float) -> Components:
    """Quantise balanced factors `a` (r, m) and `b` (r, n) at `distortion` > 0.

    Both are float64, or float32 if its precision suffices for the grid. They are scaled before they
    are rounded, as suits evenly spread vectors.

    A component whose integers would all be zero gets the largest step at which they are not.
    Raises `OutsideGrid`.
    """
    strengths = component_strengths(a, b)
    if not torch.isfinite(strengths).all():
        raise OutsideGrid
    wanted = best_exponents(strengths, (a.shape[1], b.shape[1]), distortion)
    peaks = _peaks(a), _peaks(b)
    largest = torch.floor(2 * torch.log2(NOT_ZERO * torch.minimum(*peaks)))
    exponents = torch.minimum(wanted, largest).clamp(MIN_EXPONENT, MAX_EXPONENT)
    steps = torch.exp2(exponents / 2)
    integers = []
    ratios = _log_ratios(strengths, (a.shape[1], b.shape[1]), exponents)
    for factor, peak, log_ratio in zip((a, b), peaks, ratios, strict=True):
        # Scaled so far down that its peak is still no zero; not up, where the grid has no finer step.
        scale = torch.maximum(best_scale(log_ratio), steps / (NOT_ZERO * peak)).clamp_max(1)
        integers.append((factor * (scale / steps).to(factor.dtype)[:, None]).round_())
    maxima = [_peaks(factor) for factor in integers]
    tops = exponents + sum(torch.frexp(largest).exponent for largest in maxima)
    if (
        any((m < 1).any() or (m > MAX_MAGNITUDE).any() for m in maxima)
        or (tops > MAX_EXPONENT).any()
    ):
        raise OutsideGrid
    integers_a, integers_b = (factor.to(torch.int32).numpy() for factor in integers)
    components = Components(integers_a, integers_b, exponents.to(torch.int64).numpy())
    tops_a, tops_b = (m.to(torch.int64).tolist() for m in maxima)
    if magnitude_bound(components.exponents.tolist(), tops_a, tops_b) >= EXACT_FP64:
        raise OutsideGrid
    return components


def grid_error(a: torch.Tensor, b: torch.Tensor, components: Components) -> float:
    """Estimate the squared Frobenius distance of the components from a^T b without building a matrix.

    The estimate takes the errors of different components as orthogonal. They nearly are.
    """
    steps = torch.from_numpy(np.exp2(components.exponents / 2))[:, None]
    squares, errors, inner = [], [], []
    for side, integers in ((a, components.a), (b, components.b)):
        off = side - torch.from_numpy(integers) * steps.to(side.dtype)
        squares.append(square_norms(side))
        errors.append(square_norms(off))
        # A coefficient that was scaled down is still in its error.
        inner.append(torch.linalg.vecdot(side, off).to(torch.float64))
    # The error of a component is a_c^T off_b + off_a^T b_c - off_a^T off_b.
    alone = squares[0] * errors[1] + errors[0] * squares[1] + errors[0] * errors[1]
    crossed = inner[0] * inner[1] - inner[0] * errors[1] - errors[0] * inner[1]
    return float((alone + 2 * crossed).sum())


def component_strengths(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The strength |a_c| |b_c| of each component c, float64 (r,)."""
    return torch.sqrt(square_norms(a) * square_norms(b))


def square_norms(factor: torch.Tensor) -> torch.Tensor:
    """The sum of squares of each row, float64 (r,)."""
    return torch.square(torch.linalg.vector_norm(factor, dim=1).to(torch.float64))


def _peaks(factor: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each row, float64 (r,)."""
    least, largest = torch.aminmax(factor, dim=1)
    return torch.maximum(largest, -least).to(torch.float64)


def element_grid(delta: torch.Tensor, error: float) -> tuple[np.ndarray, int]:
    """Quantise `delta` with a Frobenius error of at most `error`: flat int32 integers and an exponent.

    Raises `OutsideGrid`.
    """
    flat = delta.reshape(-1).to(torch.float64)
    exponent = math.floor(math.log2(error * math.sqrt(12 / flat.numel()))) + 2
    # The largest element must not be rounded to zero.
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
