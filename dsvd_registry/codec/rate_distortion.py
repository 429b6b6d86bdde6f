"""What a normally distributed coefficient costs on an integer grid: bits, and squared error.

By these two a grid's steps are chosen (reverse water-filling): a coefficient of standard deviation
`ratio` steps, rounded to the nearest integer, has an entropy and adds an error. Where the step is
small beside it, they are log2(ratio sqrt(2 pi e)) and a twelfth of the step's square.
"""

from __future__ import annotations

import functools
import math

import torch

FINEST, PER_OCTAVE = 5.0, 32  # log2 of the largest tabulated ratio; entries per factor of 2
COARSEST = -5.0  # at smaller ratios nothing is left but zeros
BITS_PER_NAT = 2 * math.log(2)  # dD/dR of a fine grid: -D * BITS_PER_NAT


def entropy(ratio: torch.Tensor) -> torch.Tensor:
    """Bits of a coefficient of `ratio` steps, of any shape; float64."""
    return bits_and_error(torch.log2(ratio))[0]


def squared_error(ratio: torch.Tensor) -> torch.Tensor:
    """Mean squared error of rounding a coefficient of `ratio` steps, in squared steps; float64."""
    return bits_and_error(torch.log2(ratio))[1]


def bits_and_error(log_ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The entropy and the squared error of a coefficient of 2^`log_ratio` steps."""
    fine, coarse = log_ratio >= FINEST, log_ratio <= COARSEST
    below, share = _place(log_ratio)
    bits, error = (torch.lerp(c[below], c[below + 1], share) for c in _table().T[:2])
    bits = torch.where(fine, log_ratio + 0.5 * math.log2(2 * math.pi * math.e), bits)
    error = torch.where(coarse, torch.exp2(2 * log_ratio), error)
    return bits, torch.where(fine, 1 / 12, error)


def rounded_square(ratio: torch.Tensor) -> torch.Tensor:
    """Mean square of a coefficient of `ratio` steps once it is rounded, in squared steps; float64.

    So an error shows in numbers of a coarser type: it is lost where it is far below their spacing.
    """
    fine = torch.square(ratio) + 1 / 12
    found = torch.where(torch.log2(ratio) <= COARSEST, 0.0, _interpolated(2, ratio))
    return torch.where(torch.log2(ratio) >= FINEST, fine, found)


def _interpolated(column: int, ratio: torch.Tensor) -> torch.Tensor:
    below, share = _place(torch.log2(ratio))
    values = _table()[:, column]
    return torch.lerp(values[below], values[below + 1], share)


def _place(log_ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The entry of the table below each, and how far it is on the way to the next one."""
    place = ((log_ratio - COARSEST) * PER_OCTAVE).clamp(0, len(_table()) - 1.001)
    below = place.long()
    return below, place - below


@functools.cache
def _table() -> torch.Tensor:
    """Entropy, squared error and rounded square at each tabulated ratio, float64 (entries, 3)."""
    entries = round((FINEST - COARSEST) * PER_OCTAVE) + 1
    exponents = torch.linspace(COARSEST, FINEST, entries, dtype=torch.float64, device="cpu")
    return torch.stack([_of_ratio(2.0**exponent) for exponent in exponents.tolist()])


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
    """Bits of the difference of two numbers that are rounded to one grid, of any shape; float64.

    They are a normal variable of 2^`log_ratio` steps apart, and lie anywhere between the grid's points.
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
)  # least and greatest tabulated log2 of a ratio, and entries for each of them


@functools.cache
def _dithered_table() -> torch.Tensor:
    least, greatest, entries = _DITHERED
    steps = range(least * entries, greatest * entries + 1)
    return torch.tensor([_dithered(2.0 ** (step / entries)) for step in steps], dtype=torch.float64)


def _dithered(ratio: float) -> float:
    reach = math.ceil(9 * ratio) + 2
    points = torch.arange(-reach - 1, reach + 2, dtype=torch.float64, device="cpu") / ratio
    density = torch.exp(-torch.square(points) / 2) / math.sqrt(2 * math.pi)
    # The mean of how far the variable is above each point; its second differences are the shares.
    above = ratio * (density - points * 0.5 * torch.erfc(points / math.sqrt(2)))
    shares = (above[:-2] - 2 * above[1:-1] + above[2:]).clamp_min(0)
    return float(-torch.xlogy(shares, shares).sum()) / math.log(2)
