"""The printed result of the search for a checkpoint's base, and how sure it is."""

from __future__ import annotations

import math

from .. import number_format
from ..registry import BaseMatch
from .tables import print_line


def print_match(match: BaseMatch) -> None:
    """Print the base that was found, and the figures behind it."""
    best = match.best
    changed = "" if best.change is None else f", changed by {number_format.relative(best.change)}"
    print_line(
        f"its base is {best.name}: {math.floor(100 * best.matched)} % of its tensors{changed}"
        f"{' in a sample' if changed else ''}; {how_sure(match)}"
    )


def how_sure(match: BaseMatch) -> str:
    """The distance to the next base: "no other base fits", "3.1 times as much from sd14"."""
    if match.rival is None:
        return "no other base fits"
    if match.best.change == 0:
        return f"not so from {match.rival}"
    return f"{match.margin:.1f} times as much from {match.rival}"
