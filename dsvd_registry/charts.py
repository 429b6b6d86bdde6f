"""Charts as geometry: places and sizes that templates write into SVG as attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 30, 40
CLEAR = 60  # room for the text of a spot


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


def across(share: float) -> float:
    """The place on the axis across of a share from 0 to 1."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def up(share: float) -> float:
    """The place on the axis up of a share from 0 to 1."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def round_step(most: float) -> float:
    """A round number of which a few reach `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return power * next(n for n in (0.2, 0.5, 1, 2) if most / (power * n) <= 5)
