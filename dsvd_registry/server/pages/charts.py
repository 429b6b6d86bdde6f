"""The charts of the pages of a version: its layer groups, their spectra, its bytes and errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ... import number_format
from ...charts import CLEAR, RIGHT, WIDTH, Chart, Line, Scale, Spot, Tick, across, round_step, up
from ...registry.accounts.curve_points import Curve, Point
from ...registry.accounts.group_spectra import GroupSpectrum
from ...registry.accounts.report import GroupRow

BAR = 200  # the length of the longest bar
SMALLEST = 1e-6  # a smaller singular value, relative to the largest, is not drawn
MOST_POINTS = 80


@dataclass(frozen=True)
class GroupBar:
    """A layer group of the account, and the length of the bar of its bytes."""

    row: GroupRow
    length: float


def group_bars(groups: Sequence[GroupRow]) -> list[GroupBar]:
    """Bars whose lengths are the bytes of each group."""
    most = max((row.stored_bytes for row in groups), default=0) or 1
    return [GroupBar(row, round(BAR * row.stored_bytes / most, 1)) for row in groups]


def spectra_chart(groups: Sequence[GroupSpectrum]) -> Chart | None:
    """The spectrum of each layer group over the share of its ranks, both on logarithmic scales."""
    seen = [
        (x, y)
        for group in groups
        for x, y in zip(group.places, group.values, strict=True)
        if y >= SMALLEST
    ]
    if not seen:
        return None
    shares = Scale(min(x for x, _ in seen) * 0.9, 1.0)
    values = Scale(min(y for _, y in seen) * 0.8, 1.0)
    lines = []
    for color, group in enumerate(groups):
        step = max(1, len(group.places) // MOST_POINTS)
        points = [
            (across(shares.share(x)), up(values.share(y)))
            for x, y in list(zip(group.places, group.values, strict=True))[::step]
            if y >= SMALLEST
        ]
        if points:
            written = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            lines.append(Line(group.group, written, points[-1], color))
    return Chart(
        tuple(lines),
        (),
        tuple(Tick(across(shares.share(value)), f"{value:g}") for value in shares.ticks),
        tuple(Tick(up(values.share(value)), f"{value:g}") for value in values.ticks),
    )


def curve_chart(curve: Curve) -> Chart | None:
    """The error over the bytes read, for each tau that is served; bytes on a logarithmic scale."""
    served = [(p, p.size, p.error) for p in curve.points if p.size and p.error is not None]
    if len({size for _, size, _ in served}) < 2:
        return None
    scale = Scale(served[0][1], served[-1][1])
    step = round_step(max(error for _, _, error in served) or 1.0)
    rows = math.ceil(max(error for _, _, error in served) / step + 0.15)
    spots: list[Spot] = []
    for point, size, error in reversed(served):
        x, y = across(0.03 + 0.93 * scale.share(size)), up(error / (step * rows))
        is_free = not spots or abs(spots[-1].x - x) > CLEAR
        before = x > WIDTH - RIGHT - CLEAR
        spots.append(Spot(x, y, f"tau {point.tau:g}" if is_free else "", before))
    line = " ".join(f"{spot.x:.1f},{spot.y:.1f}" for spot in reversed(spots))
    sizes = [round(scale.low * (scale.high / scale.low) ** (n / 3)) for n in range(4)]
    return Chart(
        (Line("error", line, (spots[0].x, spots[0].y), 0),),
        tuple(spots),
        tuple(
            Tick(across(0.03 + 0.93 * scale.share(size)), number_format.size(size))
            for size in sizes
        ),
        tuple(Tick(up(n / rows), f"{step * n:.4g}") for n in range(rows + 1)),
    )


def served_points(curve: Curve) -> list[Point]:
    """The points of the curve that the version can give."""
    return [point for point in curve.points if point.is_served]
