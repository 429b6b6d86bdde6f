"""The finest of a row of plans that fits a size, found with few of them carried out.

The row is halved at places that do not depend on the size asked for. Two sizes so take the same way
until a plan fits the one and not the other: a larger size never leads to a coarser plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FULL = 0.99  # of a size: what is well used
ALIKE = 1e-3  # plans whose bits differ by less need not be told apart
SHARES = (0.2, 1.5)  # of the bytes expected between two plans: what may be the difference
DOUBT = 0.35  # of the bytes from the nearest of two plans, between which one lies
MOST = 12  # plans carried out before a guess is good enough


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
    # One near the size, so that it is known what bits take there.
    first = _expected_to_fill(row, size)
    measured = {first: measure(first)}
    while True:
        low, place = _halve(row, size, measured)
        if place is None:
            return low if measured[low] <= size else None
        measured[place] = measure(place)


def _expected_to_fill(row: Row, size: int) -> int:
    """The finest plan that would fit if its bits told all."""
    aim = 8 * (size - row.besides)
    low, high = 0, row.last + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if row.bits(middle) <= aim else (low, middle)
    return low


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
    least, largest = _bounds(row, place, measured)
    if least <= size < largest:
        return (least + largest) / 2 <= size if len(measured) >= MOST else None
    return largest <= size


def _bounds(row: Row, place: int, measured: dict[int, int]) -> tuple[float, float]:
    """Bytes that a plan has at the least and at the most, judged by those that were measured."""
    below = max((near for near in measured if near < place), default=None)
    above = min((near for near in measured if near > place), default=None)
    if below is None or above is None:
        near = above if below is None else below
        assert near is not None
        apart = (row.bits(place) - row.bits(near)) / 8
        one, other = (measured[near] + share * apart for share in SHARES)
        return min(one, other), max(one, other)
    low, high = measured[below], measured[above]
    between = row.bits(above) - row.bits(below)
    share = (row.bits(place) - row.bits(below)) / between if between else 0.5
    expected = low + share * (high - low)
    doubt = DOUBT * min(abs(expected - low), abs(high - expected))
    return expected - doubt, expected + doubt


def _is_full(found: int | None, size: int) -> bool:
    return found is not None and FULL * size <= found <= size
