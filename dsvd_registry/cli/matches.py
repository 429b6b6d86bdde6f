"""The base that was found for a checkpoint, and how sure that is."""

from __future__ import annotations

from ..registry import BaseMatch
from . import figures
from .tables import print_line


def print_match(match: BaseMatch) -> None:
    """Say which base it is, and by what."""
    best = match.best
    print_line(
        f"its base is {best.name}: {_percent(best.matched)} of its tensors, "
        f"changed by {figures.relative(best.change)} in a sample; {_next(match)}"
    )


def _next(match: BaseMatch) -> str:
    if match.rival is None:
        return "no other base fits"
    if match.best.change == 0:
        return f"the next, {match.rival}, has other weights"
    return f"of the next, {match.rival}, {match.margin:.1f} times as much"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
