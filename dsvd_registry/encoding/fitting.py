"""The finest of a row of plans that fits a size, found with few of them carried out.

The row is halved at places that do not depend on the size asked for. Two sizes so take the same way
until a plan fits the one and not the other: a larger size never leads to a coarser plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FULL = 0.99  # of a size: what is well used
ALIKE = 1e-3  # plans whose bits differ by less need not be told apart
DOUBT = 0.3  # of the bytes between a plan and one that was measured: how far a guess may be off
FIRST_DOUBT = 0.5  # of all bytes, while none was measured
MOST = 12  # plans carried out


@dataclass(frozen=True)
class Row:
    """Plans 0 to `last`, each of which takes more than the one before.

    `bits`: what one is expected to take; `besides`: bytes that all take besides, about.
    """

    last: int
    bits: Callable[[int], float]
    besides: float


def finest_that_fits(row: Row, size: int, measure: Callable[[int], int]) -> int | None:
    """Its place; None where the coarsest is larger than `size`. `measure` carries one out."""
    measured: dict[int, int] = {}
    while len(measured) < MOST:
        low, place = _halve(row, size, measured)
        if place is None:
            return low if measured[low] <= size else None
        measured[place] = measure(place)
    fitting = [place for place, found in measured.items() if found <= size]
    if not fitting and 0 not in measured and measure(0) <= size:
        return 0
    return max(fitting, default=None)


def _halve(row: Row, size: int, measured: dict[int, int]) -> tuple[int, int | None]:
    """The finest plan that is thought to fit, and the place that must be measured to be sure."""
    low, high = 0, row.last + 1
    while high - low > 1 and not _is_full(measured.get(low), size):
        middle = (low + high) // 2
        # Between plans of the same bits nothing is to be gained.
        if high <= row.last and row.bits(high) - row.bits(low) <= ALIKE * row.bits(low):
            break
        is_small = _fits(row, middle, size, measured)
        if is_small is None:
            return low, middle
        low, high = (middle, high) if is_small else (low, middle)
    if low not in measured:
        return low, low
    is_known = measured[low] > size or _is_full(measured[low], size)
    if is_known or high > row.last or high in measured:
        return low, None
    return low, high


def _fits(row: Row, place: int, size: int, measured: dict[int, int]) -> bool | None:
    """Whether a plan fits; None where that is not sure."""
    if place in measured:
        return measured[place] <= size
    if not measured:
        expected = row.besides + row.bits(place) / 8
        doubt = FIRST_DOUBT * expected
    else:
        apart = {near: (row.bits(place) - row.bits(near)) / 8 for near in measured}
        nearest = min(apart, key=lambda near: abs(apart[near]))
        expected = measured[nearest] + apart[nearest]
        doubt = DOUBT * abs(apart[nearest])
    return expected < size if abs(expected - size) > doubt else None


def _is_full(found: int | None, size: int) -> bool:
    return found is not None and FULL * size <= found <= size
