"""Charts as geometry: places and sizes that the templates write into SVG as attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ... import number_format
from ...registry.accounts.curve_points import Curve, Point
from ...registry.accounts.group_spectra import GroupSpectrum
from ...registry.accounts.report import GroupRow

BAR = 200  # the length of the longest bar
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 30, 40
SMALLEST = 1e-6  # a smaller singular value, relative to the largest, is not drawn
CLEAR = 60  # room for the text of a spot
MOST_POINTS = 80


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale between two numbers above 0."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """The place of a value, from 0 at the low end to 1 at the high one."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    @property
    def ticks(self) -> list[float]:
        """The powers of ten on it; on a short scale their doubles and fivefolds too."""
        decades = math.log10(self.high / self.low)
        factors = (1, 2, 5) if decades < 2.5 else (1,)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [factor * 10.0**power for power in powers for factor in factors]
        return [value for value in found if self.low <= value <= self.high * 1.0001]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place on it, and its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """A named line of a chart: its points as SVG writes them, its end, and the number of its colour."""

    name: str
    points: str
    end: tuple[float, float]
    color: int


@dataclass(frozen=True)
class Spot:
    """A point with its text, which may be empty; `before`: whether that stands to the left of it."""

    x: float
    y: float
    text: str
    before: bool


@dataclass(frozen=True)
class Chart:
    """A chart: its lines and spots in a plane of fixed size, and the ticks of both axes."""

    lines: tuple[Line, ...]
    spots: tuple[Spot, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


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
    across = Scale(min(x for x, _ in seen) * 0.9, 1.0)
    up = Scale(min(y for _, y in seen) * 0.8, 1.0)
    lines = []
    for color, group in enumerate(groups):
        step = max(1, len(group.places) // MOST_POINTS)
        points = [
            (_across(across.share(x)), _up(up.share(y)))
            for x, y in list(zip(group.places, group.values, strict=True))[::step]
            if y >= SMALLEST
        ]
        if points:
            written = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            lines.append(Line(group.group, written, points[-1], color))
    return Chart(
        tuple(lines),
        (),
        tuple(Tick(_across(across.share(value)), f"{value:g}") for value in across.ticks),
        tuple(Tick(_up(up.share(value)), f"{value:g}") for value in up.ticks),
    )


def curve_chart(curve: Curve) -> Chart | None:
    """The error over the bytes read, for each tau that is served; bytes on a logarithmic scale."""
    served = [(p, p.size, p.error) for p in curve.points if p.size and p.error is not None]
    if len({size for _, size, _ in served}) < 2:
        return None
    scale = Scale(served[0][1], served[-1][1])
    step = _step(max(error for _, _, error in served) or 1.0)
    rows = math.ceil(max(error for _, _, error in served) / step + 0.15)
    spots: list[Spot] = []
    for point, size, error in reversed(served):
        x, y = _across(0.03 + 0.93 * scale.share(size)), _up(error / (step * rows))
        is_free = not spots or abs(spots[-1].x - x) > CLEAR
        before = x > WIDTH - RIGHT - CLEAR
        spots.append(Spot(x, y, f"tau {point.tau:g}" if is_free else "", before))
    line = " ".join(f"{spot.x:.1f},{spot.y:.1f}" for spot in reversed(spots))
    sizes = [round(scale.low * (scale.high / scale.low) ** (n / 3)) for n in range(4)]
    return Chart(
        (Line("error", line, (spots[0].x, spots[0].y), 0),),
        tuple(spots),
        tuple(
            Tick(_across(0.03 + 0.93 * scale.share(size)), number_format.size(size))
            for size in sizes
        ),
        tuple(Tick(_up(n / rows), f"{step * n:.4g}") for n in range(rows + 1)),
    )


def served_points(curve: Curve) -> list[Point]:
    """The points of the curve that the version can give."""
    return [point for point in curve.points if point.is_served]


def _across(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _up(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _step(most: float) -> float:
    """A round number of which a few reach `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return power * next(n for n in (0.2, 0.5, 1, 2) if most / (power * n) <= 5)
