"""Hints for names that were not found: similar names, existing numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from ..store.names import folded

_SHOWN = 5


def near(wanted: str, names: Iterable[str], otherwise: str) -> str:
    """The question "Did you mean ...?" with names similar to `wanted`; without any, `otherwise`."""
    spelled = {folded(name): name for name in sorted(names)}
    found = difflib.get_close_matches(folded(wanted), spelled, n=3, cutoff=0.6)
    if not found:
        return otherwise
    return "Did you mean " + " or ".join(spelled[name] for name in found) + "?"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as text for people: "1-3, 5"."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def a_few(names: Sequence[str]) -> str:
    """The first names as text: "a, b, c, d, e and 7 more"."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
