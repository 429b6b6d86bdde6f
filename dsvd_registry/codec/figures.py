"""What is measured of a delta, and kept with it: its norms, its error, its spectrum in figures."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DeltaFigures:
    """`base_norm` and `norm`: Frobenius norms of the base's part and of the true delta, in the weights'
    unit; `error`: that of (result - source) over `norm`, as it is read back."""

    base_norm: float
    norm: float
    error: float


@dataclass(frozen=True, kw_only=True)
class LowRankFigures(DeltaFigures):
    """Besides, of a delta in components: `energy` is E of the stored rank, `nuclear_norm` the sum of all
    singular values; `tau_rank` the rank that tau takes, `noise_rank` that of what is above the rounding
    noise."""

    tau_rank: int
    noise_rank: int
    energy: float
    nuclear_norm: float


def delta_figures(holder: DeltaFigures) -> dict[str, Any]:
    """The figures of any delta by name, to make another value of."""
    return {field.name: getattr(holder, field.name) for field in fields(DeltaFigures)}


def low_rank_figures(holder: LowRankFigures) -> dict[str, Any]:
    """As `delta_figures`, of a delta in components."""
    return {field.name: getattr(holder, field.name) for field in fields(LowRankFigures)}
