"""The curves of a report: each measure over bytes, and over tau."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ... import number_format
from ...charts import CLEAR, RIGHT, WIDTH, Chart, Line, Scale, Spot, Tick, across, up
from ..bootstrap import Estimate
from ..columns import Column
from ..models import BASE
from ..results import Evaluation, ModelRow

MARGIN = 0.04  # of the width, free at both ends
TICKS = 5


@dataclass(frozen=True)
class Curve:
    """A chart with its name, and what lies across and up. The base is a line from side to side."""

    name: str
    across: str
    up: str
    chart: Chart


def curves(found: Evaluation) -> tuple[Curve, ...]:
    """The curves of measures of single pictures, over bytes and, for two taus or more, over tau."""
    made = []
    for column in found.columns:
        if column.reason or column.kind == "set":
            continue
        by = f" by {column.extractor}" if column.extractor else ""
        sized = [row for row in found.models if row.size and _is_drawn(row, column)]
        if len({row.size for row in sized}) > 1:
            places = _by_bytes(sized)
            chart = _chart(found, column, sized, places, _byte_ticks(sized))
            made.append(Curve(f"{column.title}{by} over bytes", "bytes", column.title, chart))
        taus = [row for row in sized if row.tau is not None]
        if len(taus) > 1:
            places = [_placed(row.tau or 0.0, 0.0, 1.0) for row in taus]
            ticks = [Tick(_placed(n / TICKS, 0.0, 1.0), f"{n / TICKS:g}") for n in range(TICKS + 1)]
            chart = _chart(found, column, taus, places, ticks)
            made.append(Curve(f"{column.title}{by} over tau", "tau", column.title, chart))
    return tuple(made)


def _is_drawn(row: ModelRow, column: Column) -> bool:
    one = row.cells[column.key].estimate
    return one is not None and math.isfinite(one.mean)


def _by_bytes(rows: Sequence[ModelRow]) -> list[float]:
    scale = _scale(rows)
    return [across(MARGIN + (1 - 2 * MARGIN) * scale.share(row.size)) for row in rows]


def _byte_ticks(rows: Sequence[ModelRow]) -> list[Tick]:
    scale = _scale(rows)
    sizes = [scale.low * (scale.high / scale.low) ** (n / 3) for n in range(4)]
    return [
        Tick(across(MARGIN + (1 - 2 * MARGIN) * scale.share(size)), number_format.size(round(size)))
        for size in sizes
    ]


def _scale(rows: Sequence[ModelRow]) -> Scale:
    return Scale(min(row.size for row in rows), max(row.size for row in rows))


def _placed(value: float, low: float, high: float) -> float:
    return across(MARGIN + (1 - 2 * MARGIN) * (value - low) / (high - low))


def _chart(
    found: Evaluation,
    column: Column,
    rows: Sequence[ModelRow],
    places: Sequence[float],
    ticks: Sequence[Tick],
) -> Chart:
    """The chart of these models; the versions are joined by a line, intervals are lines upright."""
    base = next(row for row in found.models if row.label == BASE).cells[column.key].estimate
    estimates = [row.cells[column.key].estimate for row in rows]
    shown = [one for one in (*estimates, base) if one is not None]
    low, high = _range(shown)

    def height(value: float) -> float:
        return up((value - low) / (high - low))

    lines, spots = [], []
    if base is not None:
        y = height(base.mean)
        ends = f"{across(0.0)},{y} {across(1.0)},{y}"
        lines.append(Line(BASE, ends, (across(0.0), y), 1))
    joined = []
    for row, one, x in zip(rows, estimates, places, strict=True):
        assert one is not None
        y = height(one.mean)
        if one.low is not None and one.high is not None and one.low < one.high:
            upright = f"{x},{height(one.low)} {x},{height(one.high)}"
            lines.append(Line(row.label, upright, (x, y), 2))
        if row.tau is not None:
            joined.append((x, y))
        spots.append(Spot(x, y, row.label, x > WIDTH - RIGHT - 2 * CLEAR))
    if len(joined) > 1:
        points = " ".join(f"{x},{y}" for x, y in sorted(joined))
        lines.append(Line("versions", points, joined[-1], 0))
    step = (high - low) / 4
    marks = [low + n * step for n in range(5)]
    upward = tuple(Tick(height(mark), f"{mark:.3g}") for mark in marks)
    return Chart(tuple(lines), tuple(_apart(spots)), tuple(ticks), upward)


def _range(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """The lowest and highest value of means and intervals, a little apart."""
    values = [
        value
        for one in estimates
        for value in (one.mean, one.low, one.high)
        if value is not None and math.isfinite(value)
    ]
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
    return low - room, high + room


def _apart(spots: Sequence[Spot]) -> list[Spot]:
    """The spots, without the texts of those whose neighbour has one in the same place."""
    kept: list[Spot] = []
    for spot in spots:
        is_free = all(
            abs(other.y - spot.y) > 14 or abs(other.x - spot.x) > 2 * CLEAR
            for other in kept
            if other.text
        )
        kept.append(spot if is_free else Spot(spot.x, spot.y, "", spot.before))
    return kept
