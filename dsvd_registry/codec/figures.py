"""Figures that are measured of a delta and stored with it: norms, error, ranks and energy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DeltaFigures:
    """The figures of every delta.

    `base_norm`, `norm`: Frobenius norms of the base's part and of the true delta, in the unit of
    the weights. `error`: the Frobenius norm of (result - source) over `norm`, with the result as it
    is read back.
    """

    base_norm: float
    norm: float
    error: float


@dataclass(frozen=True, kw_only=True)
class LowRankFigures(DeltaFigures):
    """The figures of a delta that is stored as components.

    `tau_rank`, `noise_rank`: the two limits of the rank. `energy`: E of the stored rank.
    `nuclear_norm`: the sum of all singular values.
    """

    tau_rank: int
    noise_rank: int
    energy: float
    nuclear_norm: float


def delta_figures(delta: DeltaFigures) -> dict[str, Any]:
    """The figures of any delta by name, as arguments for another value."""
    return {field.name: getattr(delta, field.name) for field in fields(DeltaFigures)}


def low_rank_figures(delta: LowRankFigures) -> dict[str, Any]:
    """The figures of a delta of components by name, as arguments for another value."""
    return {field.name: getattr(delta, field.name) for field in fields(LowRankFigures)}
