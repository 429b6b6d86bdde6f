"""A tree map: rectangles whose areas are sizes, as near to squares as their order allows.

The squarified layout of Bruls, Huizing and van Wijk (2000): sizes, largest first, are laid in rows along
the shorter side of what is left. A row ends where one more rectangle would make its worst one longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 960.0, 440.0


@dataclass(frozen=True)
class Share:
    """Something that has a size: its name, its bytes, its kind, and the page about it."""

    name: str
    bytes: int
    kind: str
    link: str


@dataclass(frozen=True)
class Tile:
    """The rectangle of a share."""

    share: Share
    x: float
    y: float
    width: float
    height: float


def tree_map(
    shares: Sequence[Share], width: float = WIDTH, height: float = HEIGHT
) -> tuple[Tile, ...]:
    """The tiles of all shares that have bytes; they fill the plane without a gap."""
    left = sorted((share for share in shares if share.bytes > 0), key=lambda s: -s.bytes)
    total = sum(share.bytes for share in left)
    if not total:
        return ()
    scale = width * height / total
    tiles: list[Tile] = []
    x, y = 0.0, 0.0
    while left:
        side = min(width, height)
        row = [left.pop(0)]
        while left and _worst([*row, left[0]], side, scale) <= _worst(row, side, scale):
            row.append(left.pop(0))
        depth = sum(share.bytes for share in row) * scale / side
        along = 0.0
        for share in row:
            length = share.bytes * scale / depth
            if width >= height:
                tiles.append(Tile(share, x, y + along, depth, length))
            else:
                tiles.append(Tile(share, x + along, y, length, depth))
            along += length
        if width >= height:
            x, width = x + depth, width - depth
        else:
            y, height = y + depth, height - depth
    return tuple(tiles)


def _worst(row: Sequence[Share], side: float, scale: float) -> float:
    """The largest ratio of the sides of the rectangles of a row."""
    areas = [share.bytes * scale for share in row]
    depth = sum(areas) / side
    return max(max(depth * depth / area, area / (depth * depth)) for area in areas)
