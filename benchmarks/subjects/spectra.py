"""Singular values with the spectrum of fine-tunes of Stable Diffusion 1.5.

Source: Delta-SVD, arXiv 2508.16863, table 2: the average rank per layer group at four taus, where
E(t) is the sum of the first t singular values over the sum of all (the values, not their squares).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from dsvd_registry.checkpoint.layer_groups import layer_group

TAUS = (0.06, 0.2, 0.5, 0.8)
TABLE_2 = {
    "conv_in": (36, (1, 3, 11, 23)),
    "conv_out": (4, (1, 1, 2, 4)),
    "down": (753, (4, 17, 73, 211)),
    "mid": (1223, (3, 16, 85, 304)),
    "up": (774, (4, 16, 72, 217)),
}
"""Group: average full rank, and average ranks at `TAUS`."""

# Four singular values that give the four ranks of the table, without interpolation.
CONV_OUT = ((0, 0), (0.25, 0.28), (0.5, 0.54), (0.75, 0.78), (1, 1))


def group_of(name: str) -> str:
    """The row of the table for a tensor; "down" for a tensor that the table does not name."""
    group = layer_group(name)
    return group if group in TABLE_2 else "down"


def singular_values(group: str, full_rank: int) -> npt.NDArray[np.float64]:
    """The falling singular values (full_rank,) of sum 1: the group's curve at the layer's full rank."""
    share, energy = zip(*_curve(group), strict=True)
    curve = PchipInterpolator(share, energy)
    reached = curve(np.arange(full_rank + 1) / full_rank)
    values = np.sort(np.diff(reached))[::-1]
    return np.ascontiguousarray(values / values.sum())


def rank_at(values: npt.NDArray[np.float64], tau: float) -> int:
    """The smallest t with E(t) >= tau, whatever the last bits of the sum."""
    return min(len(values), int((np.cumsum(values) < tau * values.sum() * (1 - 1e-12)).sum()) + 1)


def _curve(group: str) -> tuple[tuple[float, float], ...]:
    """Points of E as a function of t over the full rank.

    A rank is the first whole t past its tau, so that on average the curve passes tau half a rank
    before.
    """
    if group == "conv_out":
        return CONV_OUT
    full_rank, ranks = TABLE_2[group]
    knots = ((rank - 0.5) / full_rank for rank in ranks)
    return ((0.0, 0.0), *zip(knots, TAUS, strict=True), (1.0, 1.0))
