"""Table 2 and what figure 1 needs, from weights alone: the ranks and spectra of layer groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsvd_registry.checkpoint.layer_groups import GROUPS
from dsvd_registry.registry import Curve

from .text_table import table

TAUS = (0.8, 0.5, 0.2, 0.06)


def table_2(curves: Sequence[Curve]) -> str:
    """Average ranks by layer group over subjects, and relative to full rank, as Markdown.

    `curves`: of each subject, at `TAUS`. The time embedding is among the groups, which the paper leaves
    out; tensors that are stored dense have no rank, and are counted.
    """
    rows = []
    for group in GROUPS:
        full = [s.full_rank for curve in curves for s in curve.groups if s.group == group]
        if not full:
            continue
        cells = []
        for tau in TAUS:
            ranks, count = _ranks(curves, group, tau)
            cells.append(f"{ranks:.1f} ({ranks / np.mean(full):.1%}, {count})" if count else "-")
        rows.append([group, f"{np.mean(full):.1f}", *cells])
    titles = [f"tau {tau:g}" for tau in TAUS]
    return (
        table(["layers", "full rank", *titles], rows)
        + "\nMean rank of the matrices that are stored low-rank (its share of the full rank of the "
        "group, and how many matrices these are in one subject).\n"
    )


def _ranks(curves: Sequence[Curve], group: str, tau: float) -> tuple[float, int]:
    """The mean rank over the low-rank matrices of a group, and their mean number."""
    found = [
        (one.rank, one.low_rank)
        for curve in curves
        for point in curve.points
        if point.tau == tau
        for one in point.groups
        if one.group == group and one.low_rank
    ]
    total = sum(count for _, count in found)
    if not total:
        return 0.0, 0
    return sum(rank * count for rank, count in found) / total, round(total / len(curves))


def mean_factors(curves: Sequence[Curve]) -> dict[float, float]:
    """By tau, the mean bytes of factors in fp16, as the paper counts."""
    found = {}
    for tau in TAUS:
        points = [point for curve in curves for point in curve.points if point.tau == tau]
        numbers = [point.parameters for point in points if point.parameters is not None]
        found[tau] = 2 * float(np.mean(numbers))
    return found
