"""Search for the finest of a series of plans that fits a size, while carrying out only few of them.

The search is a bisection whose points do not depend on the size. Two sizes therefore take the same
path until a plan fits one and not the other, so a larger size never leads to a coarser plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FULL = 0.99  # share of the size that is a good enough use of it
ALIKE = 1e-3  # plans whose expected bits differ by a smaller share count as equal
SHARES = (0.6, 1.4)  # least and largest ratio of the real to the expected difference of two plans
DOUBT = 0.35  # error of an interpolated size, as a share of its distance to the nearer of two plans
MOST = 12  # plans carried out before an estimate is trusted


@dataclass(frozen=True)
class PlanSeries:
    """A series of plans, 0 to `last`, each larger than the one before.

    `bits(place)`: the expected bits of a plan. `overhead`: about how many bytes every plan takes in
    addition.
    """

    last: int
    bits: Callable[[int], float]
    overhead: float


def finest_that_fits(plans: PlanSeries, size: int, measure: Callable[[int], int]) -> int | None:
    """The number of the finest plan that fits; None if the coarsest is larger than `size`.

    `measure(place)` carries out a plan and returns its size in bytes.
    """
    # The first plan is near the size, where the ratio of bytes to expected bits matters.
    first = _expected_to_fill(plans, size)
    measured = {first: measure(first)}
    while True:
        low, place = _halve(plans, size, measured)
        if place is None:
            return low if measured[low] <= size else None
        measured[place] = measure(place)


def _expected_to_fill(plans: PlanSeries, size: int) -> int:
    """The finest plan that would fit if its size were exactly as expected."""
    aim = 8 * (size - plans.overhead)
    low, high = 0, plans.last + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if plans.bits(middle) <= aim else (low, middle)
    return low


def _halve(plans: PlanSeries, size: int, measured: dict[int, int]) -> tuple[int, int | None]:
    """The finest plan that seems to fit, and the one to measure next; None if the search is over."""
    low, high = 0, plans.last + 1
    while high - low > 1 and not _is_full(measured.get(low), size):
        middle = (low + high) // 2
        # Between plans of equal bits there is nothing to gain.
        if high <= plans.last and plans.bits(high) - plans.bits(low) <= ALIKE * plans.bits(low):
            break
        fits = _fits(plans, middle, size, measured)
        if fits is None:
            return low, middle
        low, high = (middle, high) if fits else (low, middle)
    if low not in measured:
        return low, low
    is_known = measured[low] > size or _is_full(measured[low], size)
    if is_known or high > plans.last or high in measured:
        return low, None
    return low, high


def _fits(plans: PlanSeries, place: int, size: int, measured: dict[int, int]) -> bool | None:
    """True if a plan fits; None if the measurements so far do not decide it."""
    if place in measured:
        return measured[place] <= size
    least, largest = _bounds(plans, place, measured)
    if least <= size < largest:
        return (least + largest) / 2 <= size if len(measured) >= MOST else None
    return largest <= size


def _bounds(plans: PlanSeries, place: int, measured: dict[int, int]) -> tuple[float, float]:
    """Bounds of a plan's size in bytes, estimated from the plans that were measured."""
    below = max((near for near in measured if near < place), default=None)
    above = min((near for near in measured if near > place), default=None)
    if below is None or above is None:
        near = above if below is None else below
        assert near is not None
        difference = (plans.bits(place) - plans.bits(near)) / 8
        bounds = [measured[near] + share * difference for share in SHARES]
        return min(bounds), max(bounds)
    low, high = measured[below], measured[above]
    between = plans.bits(above) - plans.bits(below)
    share = (plans.bits(place) - plans.bits(below)) / between if between else 0.5
    expected = low + share * (high - low)
    doubt = DOUBT * min(abs(expected - low), abs(high - expected))
    return expected - doubt, expected + doubt


def _is_full(measured: int | None, size: int) -> bool:
    return measured is not None and FULL * size <= measured <= size
