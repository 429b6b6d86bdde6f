"""Intervals: how often they hold the truth on synthetic data, and what they never do."""

from __future__ import annotations

import numpy as np
import pytest

from dsvd_registry.evaluation.bootstrap import mean_of, share_of

SHAPE = (16, 12, 4)


def drawn(draw: np.random.Generator, mean: float, spread: float = 1.0) -> np.ndarray:
    """Values of subjects, prompts and seeds that differ among each other, and noise."""
    subjects, prompts, seeds = SHAPE
    return (
        mean
        + spread * draw.normal(size=(subjects, 1, 1))
        + 0.5 * draw.normal(size=(1, prompts, 1))
        + 0.1 * draw.normal(size=(1, 1, seeds))
        + draw.normal(size=SHAPE)
    )


def test_coverage() -> None:
    draw = np.random.default_rng(1)
    trials, held, naive = 300, 0, 0
    for _ in range(trials):
        values = drawn(draw, 0.7)
        found = mean_of(values, draws=400)
        assert found.low is not None and found.high is not None
        held += found.low <= 0.7 <= found.high
        half = 1.96 * values.std() / np.sqrt(values.size)
        naive += abs(values.mean() - 0.7) <= half
    # Within what 300 trials can tell from 0.95, and from the few subjects of the percentiles.
    assert 0.89 <= held / trials <= 0.985
    # As if all pictures were independent: wrong most of the time, and this test sees it.
    assert naive / trials < 0.6


def test_coverage_of_shares() -> None:
    draw = np.random.default_rng(2)
    trials, held = 200, 0
    for _ in range(trials):
        none = drawn(draw, 0.0)
        gain = 4 + 0.5 * draw.normal(size=SHAPE)
        kept = 0.9 * gain + 0.3 * draw.normal(size=(SHAPE[0], 1, 1))
        found = share_of(none + kept, none, none + gain, draws=400)
        assert found is not None and found.low is not None and found.high is not None
        held += found.low <= 0.9 <= found.high
    assert 0.87 <= held / trials <= 0.99


def test_exact_where_nothing_varies() -> None:
    same = np.full((2, 3, 5), 0.1)
    found = mean_of(same)
    assert (found.mean, found.low, found.high) == (0.1, 0.1, 0.1)
    values = np.random.default_rng(3).random((2, 3, 5))
    none = values - 1 - np.random.default_rng(4).random((2, 3, 5))
    kept = share_of(values, none, values)
    lost = share_of(none, none, values)
    assert kept is not None and (kept.mean, kept.low, kept.high) == (1, 1, 1)
    assert lost is not None and (lost.mean, lost.low, lost.high) == (0, 0, 0)


def test_nothing_to_keep() -> None:
    draw = np.random.default_rng(5)
    none = draw.random((4, 4, 4))
    assert share_of(none + 0.1, none, none + 0.01 * draw.normal(size=none.shape)) is None
    assert share_of(none, none, none - 1) is None


def test_one_subject_is_not_drawn() -> None:
    """With one subject, the interval is of its prompts and seeds, and one picture has none."""
    values = drawn(np.random.default_rng(6), 0.0)
    one, all_of_them = mean_of(values[:1]), mean_of(values)
    for found in (one, all_of_them):
        assert found.low is not None and found.high is not None
        assert found.low < found.mean < found.high
    alone = mean_of(values[:1, :1, :1])
    assert (alone.mean, alone.low, alone.high) == (pytest.approx(values[0, 0, 0]), None, None)
    assert mean_of(values) == mean_of(values.copy())
