"""The search for the finest plan that fits: by a row of sizes that the test makes up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.encoding.budget_search import FULL, PlanSeries, finest_that_fits


class Sizes:
    """True sizes of a row of plans, and what is expected of them, which is off."""

    def __init__(self, seed: int, last: int, off: float) -> None:
        generator = np.random.default_rng(seed)
        self.true = 2000 + generator.integers(0, 60, last + 1).cumsum()
        steps = np.diff(self.true, prepend=2000) * 8.0
        self.bits = (steps * (1 + off * generator.uniform(-1, 1, last + 1))).cumsum() * (1 + off)
        self.row = PlanSeries(last, lambda place: float(self.bits[place]), 1500)
        self.measured: list[int] = []

    def measure(self, place: int) -> int:
        assert place not in self.measured  # each is costly
        self.measured.append(place)
        return int(self.true[place])

    def found(self, size: int) -> int | None:
        self.measured.clear()
        return finest_that_fits(self.row, size, self.measure)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    last=st.integers(0, 5000),
    off=st.sampled_from([0.0, 0.1, 0.25]),
    share=st.floats(0.0, 1.2),
)
def test_it_fits_and_is_full_or_the_next_does_not_fit(
    seed: int, last: int, off: float, share: float
) -> None:
    sizes = Sizes(seed, last, off)
    size = int(2000 + share * (sizes.true[-1] - 2000))
    place = sizes.found(size)
    if place is None:
        assert sizes.true[0] > size
        return
    assert sizes.true[place] <= size
    assert place in sizes.measured and len(sizes.measured) <= 20
    room = size - sizes.true[place]
    # All but a hundredth, or two plans that their bits hardly tell apart.
    assert room <= (1 - FULL) * size + 120 or place == last


@pytest.mark.parametrize("off", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("seed", range(5))
def test_a_larger_size_is_never_a_coarser_plan(seed: int, off: float) -> None:
    sizes = Sizes(seed, 3000, off)
    ladder = [int(sizes.true[0] * 1.013**step) for step in range(350)]
    places = [sizes.found(size) for size in ladder]
    assert None not in places
    assert all(one <= other for one, other in itertools.pairwise(places))  # type: ignore[operator]


@pytest.mark.parametrize(("off", "most"), [(0.0, 3), (0.05, 4), (0.25, 5)])
def test_few_are_measured(off: float, most: float) -> None:
    counts = []
    for seed in range(20):
        sizes = Sizes(seed, 100_000, off)
        for share in (0.05, 0.3, 0.9):
            sizes.found(int(share * sizes.true[-1]))
            counts.append(len(sizes.measured))
    assert sum(counts) / len(counts) <= most


def test_a_row_of_one_plan() -> None:
    for size, place in ((99, None), (100, 0), (10**9, 0)):
        assert finest_that_fits(PlanSeries(0, lambda _: 0.0, 0), size, lambda _: 100) == place


def test_sizes_that_fall_where_they_should_rise() -> None:
    """The search ends with a plan that fits, if not the finest."""
    generator = np.random.default_rng(3)
    found = 0
    for _ in range(50):
        true = generator.integers(1000, 9000, 300)
        row = PlanSeries(299, lambda place: 100.0 * place, 1000)
        place = finest_that_fits(row, 5000, lambda place, true=true: int(true[place]))
        if place is None:
            assert true[0] > 5000  # the coarsest does not fit
        else:
            assert true[place] <= 5000
            found += 1
    assert found >= 25
