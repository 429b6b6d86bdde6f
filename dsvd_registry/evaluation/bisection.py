"""Bisection: the least of some values that passes a test which all larger ones pass, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def least_passing(values: Sequence[float], passes: Callable[[float], bool]) -> float | None:
    """The least value that passes; None if the largest does not.

    Args:
        values: ascending.
        passes: the test, called about log2(len(values)) + 1 times.

    Returns:
        A value that passes, and the one below it does not. If the test is not monotone there may be
        lesser ones that pass.

    Example:
        >>> least_passing([0.1, 0.2, 0.3, 0.4], lambda value: value > 0.15)
        0.2
    """
    if not values or not passes(values[-1]):
        return None
    failing, passing = -1, len(values) - 1
    while passing - failing > 1:
        middle = (failing + passing) // 2
        if passes(values[middle]):
            passing = middle
        else:
            failing = middle
    return values[passing]
