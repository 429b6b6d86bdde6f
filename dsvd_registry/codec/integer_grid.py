"""Quantisation of factors and deltas to the integer grid, by rate-distortion.

Both factors of a component have the quantisation step 2^(e/2). By reverse water-filling, e is
chosen so that one more bit lowers the squared error equally in every component. On a fine grid that
gives 2^e = 12 D / s for a component of strength s, and each coefficient adds the distortion D. Weak
components get coarse steps, and compress to few bits.

The rate-distortion model is that of a normally distributed coefficient. One whose standard deviation is
`ratio` steps is rounded to the nearest integer. The entropy of that integer is its rate in bits, and the
rounding error is its distortion. For fine steps they approach log2(ratio sqrt(2 pi e)) and a twelfth of
the squared step; a table has the values for coarser ones.
"""

from __future__ import annotations

import functools
import math

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

FINEST, PER_OCTAVE = 5.0, 32  # log2 of the largest tabulated ratio; entries per factor of 2
COARSEST = -5.0  # log2 of the least tabulated ratio: below it all integers are zero
ENTRIES = round((FINEST - COARSEST) * PER_OCTAVE) + 1
BITS_PER_NAT = 2 * math.log(2)  # dD/dR of a fine grid: -D * BITS_PER_NAT


def entropy(ratio: torch.Tensor) -> torch.Tensor:
    """The bits of coefficients of `ratio` steps, float64, in the shape of `ratio`."""
    return bits_and_error(torch.log2(ratio))[0]


def squared_error(ratio: torch.Tensor) -> torch.Tensor:
    """The mean squared error of rounding coefficients of `ratio` steps, in squared steps, float64."""
    return bits_and_error(torch.log2(ratio))[1]


def bits_and_error(log_ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bits and the mean squared error of coefficients of 2^`log_ratio` steps."""
    fine, coarse = log_ratio >= FINEST, log_ratio <= COARSEST
    below, share = _place(log_ratio)
    bits, error = _interpolated(0, below, share), _interpolated(1, below, share)
    bits = torch.where(fine, log_ratio + 0.5 * math.log2(2 * math.pi * math.e), bits)
    error = torch.where(coarse, torch.exp2(2 * log_ratio), error)
    return bits, torch.where(fine, 1 / 12, error)


def rounded_square(ratio: torch.Tensor) -> torch.Tensor:
    """The mean square of rounded coefficients of `ratio` steps, in squared steps, float64.

    It gives the error that remains after rounding to a coarser dtype: an error far below the
    spacing of its numbers vanishes.
    """
    fine = torch.square(ratio) + 1 / 12
    log_ratio = torch.log2(ratio)
    square = torch.where(log_ratio <= COARSEST, 0.0, _interpolated(2, *_place(log_ratio)))
    return torch.where(log_ratio >= FINEST, fine, square)


def _interpolated(row: int, below: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    values = _table()[row]
    return torch.lerp(values[below], values[1:][below], share)


def _place(log_ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The table entry below each ratio, and its fractional distance to the next entry."""
    place = ((log_ratio - COARSEST) * PER_OCTAVE).clamp(0, ENTRIES - 1.001)
    below = place.long()
    return below, place - below


@functools.cache
def _table() -> tuple[torch.Tensor, ...]:
    """Entropy, squared error and rounded square at each tabulated ratio, float64 (entries,) each."""
    exponents = torch.linspace(COARSEST, FINEST, ENTRIES, dtype=torch.float64, device="cpu")
    found = torch.stack([_of_ratio(2.0**exponent) for exponent in exponents.tolist()], dim=1)
    return tuple(found)


def _of_ratio(ratio: float) -> torch.Tensor:
    reach = math.ceil(9 * ratio) + 1
    integers = torch.arange(-reach, reach + 1, dtype=torch.float64, device="cpu")
    low, high = (integers - 0.5) / ratio, (integers + 0.5) / ratio
    shares = 0.5 * (torch.erf(high / math.sqrt(2)) - torch.erf(low / math.sqrt(2)))
    # The mean of a normal variable over an interval is a difference of densities.
    means = (torch.exp(-(low**2) / 2) - torch.exp(-(high**2) / 2)) / math.sqrt(2 * math.pi)
    square = (integers**2 * shares).sum()
    error = ratio**2 - 2 * ratio * (integers * means).sum() + square
    return torch.stack([-torch.xlogy(shares, shares).sum() / math.log(2), error, square])


def dithered_entropy(log_ratio: torch.Tensor) -> torch.Tensor:
    """The bits of the difference of two numbers that are rounded to the same grid, float64.

    Before rounding, the difference is normally distributed with a standard deviation of
    2^`log_ratio` steps, and the numbers lie anywhere between the points of the grid.
    """
    place = ((log_ratio - _DITHERED[0]) * _DITHERED[2]).clamp(0, len(_dithered_table()) - 1.001)
    below = place.long()
    table = _dithered_table()
    bits = torch.lerp(table[below], table[below + 1], place - below)
    fine = log_ratio + 0.5 * math.log2(2 * math.pi * math.e)
    return torch.where(log_ratio >= _DITHERED[1], fine, bits)


_DITHERED = (
    -16,
    5,
    4,
)  # least and greatest tabulated log2 of a ratio, and entries per factor of 2


@functools.cache
def _dithered_table() -> torch.Tensor:
    least, greatest, entries = _DITHERED
    steps = range(least * entries, greatest * entries + 1)
    return torch.tensor([_dithered(2.0 ** (step / entries)) for step in steps], dtype=torch.float64)


def _dithered(ratio: float) -> float:
    reach = math.ceil(9 * ratio) + 2
    points = torch.arange(-reach - 1, reach + 2, dtype=torch.float64, device="cpu") / ratio
    density = torch.exp(-torch.square(points) / 2) / math.sqrt(2 * math.pi)
    # The mean excess of the variable over each point; its second differences are the shares.
    above = ratio * (density - points * 0.5 * torch.erfc(points / math.sqrt(2)))
    shares = (above[:-2] - 2 * above[1:-1] + above[2:]).clamp_min(0)
    return float(-torch.xlogy(shares, shares).sum()) / math.log(2)


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
    scaled = torch.log2(strengths) - exponents
    squares = torch.exp2(exponents)
    sides = []
    for size in shape:
        log_size = torch.log2(size) if isinstance(size, torch.Tensor) else math.log2(size)
        bits, error = bits_and_error((scaled - log_size) / 2)
        sides.append((size * bits, size * error * squares))
    (bits_a, rows), (bits_b, columns) = sides
    return strengths * (rows + columns) + rows * columns, bits_a + bits_b


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

    Both are float64, or float32 if its precision suffices for the grid.

    A component whose integers would all be zero gets the largest step at which they are not.
    Raises `OutsideGrid`.
    """
    strengths = component_strengths(a, b)
    wanted = best_exponents(strengths, (a.shape[1], b.shape[1]), distortion)
    # round(x / p) is not zero if x > p / 2; 1.999 instead of 2 leaves room for rounding.
    peaks = torch.minimum(_peaks(a), _peaks(b))
    largest = torch.floor(2 * torch.log2(1.999 * peaks))
    exponents = torch.minimum(wanted, largest).clamp(MIN_EXPONENT, MAX_EXPONENT)
    steps = torch.exp2(exponents / 2)[:, None]
    integers = [(factor / steps.to(factor.dtype)).round_() for factor in (a, b)]
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

    The estimate takes the errors of different components as orthogonal. Rounding errors nearly are.
    """
    steps = torch.from_numpy(np.exp2(components.exponents / 2))[:, None]
    true = [square_norms(side) for side in (a, b)]
    off = [
        square_norms(side - torch.from_numpy(integers) * steps.to(side.dtype))
        for side, integers in zip((a, b), (components.a, components.b), strict=True)
    ]
    return float((true[0] * off[1] + off[0] * true[1] + off[0] * off[1]).sum())


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
