"""Confidence intervals by the bootstrap, over subjects, prompts and seeds at once.

Subjects, prompts and seeds are each drawn anew with replacement, and every picture counts as often
as its subject, its prompt and its seed were drawn (Owen 2007, the "pigeonhole bootstrap"): pictures
of one subject are alike, and drawing pictures one by one would give intervals far too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
"""One value for each subject, prompt and seed."""

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval. `low` and `high` are None where there is one picture alone."""

    mean: float
    low: float | None = None
    high: float | None = None


def mean_of(values: Values, *, level: float = LEVEL, draws: int = DRAWS) -> Estimate:
    """The mean of the values, with its interval.

    Args:
        values: one for each subject, prompt and seed.
        level: the share of intervals that hold the true mean.
        draws: the number of times that everything is drawn anew.

    Returns:
        The mean and the interval. A dimension of one entry is not drawn: the interval then says
        nothing of other subjects, prompts or seeds.

    Example:
        >>> mean_of(np.ones((2, 3, 4)))
        Estimate(mean=1.0, low=1.0, high=1.0)
    """
    mean = float(np.mean(values))
    if values.size == 1:
        return Estimate(mean)
    if np.all(values == values.flat[0]):  # exact, where weighted sums would round
        return Estimate(float(values.flat[0]), float(values.flat[0]), float(values.flat[0]))
    return Estimate(mean, *_between(_drawn_means(values, draws), level))


def share_of(
    values: Values, none: Values, whole: Values, *, level: float = LEVEL, draws: int = DRAWS
) -> Estimate | None:
    """The share (values - none) / (whole - none) of means, with its interval.

    Args:
        values: the values of a model.
        none: those of the base, whose share is 0.
        whole: those of the fine-tune, whose share is 1.
        level: as in `mean_of`.
        draws: as in `mean_of`.

    Returns:
        The share; None where the interval of (whole - none) holds 0, so that there is nothing of
        which a share can be kept.
    """
    gain, kept = whole - none, values - none
    gained = mean_of(gain, level=level, draws=draws)
    if gained.mean <= 0 or (gained.low is not None and gained.low <= 0):
        return None
    if np.array_equal(values, whole) or np.array_equal(values, none):
        exact = float(np.array_equal(values, whole))
        return Estimate(exact, exact, exact) if gained.low is not None else Estimate(exact)
    share = float(np.mean(kept) / gained.mean)
    if gained.low is None:
        return Estimate(share)
    shares = _drawn_means(kept, draws) / _drawn_means(gain, draws)
    return Estimate(share, *_between(shares, level))


def _drawn_means(values: Values, draws: int) -> Values:
    """The mean of the values in each draw. Equal shapes are drawn alike."""
    draw = np.random.default_rng(0)
    subjects, prompts, seeds = (
        draw.multinomial(size, np.full(size, 1 / size), draws).astype(np.float64)
        for size in values.shape
    )
    by_seed = np.einsum("bk,spk->bsp", seeds, values)
    by_prompt = np.einsum("bp,bsp->bs", prompts, by_seed)
    return np.asarray(np.einsum("bs,bs->b", subjects, by_prompt) / values.size, dtype=np.float64)


def _between(found: Values, level: float) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
