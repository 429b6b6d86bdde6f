"""The taus that a container serves, and their ranks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec.building import Built, Recipe
from spec.exact import Component, encoded
from spec.valid_vectors import rounding_of_tau

from dsvd_registry.container.delta_decoder import check_served, served_rank
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord
from dsvd_registry.errors import TauNotServed
from spec import exact

STORED = 0.9


def of(*tensors: tuple[list[float], float, int, int]) -> Built:
    """(4, 4) tensors of these singular values, nuclear norm, tau's rank and noise rank."""
    recipe = Recipe(STORED)
    base = recipe.hold("w", "F32", (4, 4), encoded((1.0,) * 16, "F32"))
    for i, (singular, nuclear, tau_rank, noise_rank) in enumerate(tensors):
        components = [Component(-5, (1, 0, 0, 0), (1, 0, 0, 0), s) for s in singular]
        told = {"nuclear_norm": nuclear, "tau_rank": tau_rank, "noise_rank": noise_rank}
        recipe.low_rank(f"w{i}", "F32", (4, 4), [base], components, **told)
    recipe.raw("other", "U8", (1,), b"x")
    return recipe.build()


def ranks(path: Path, built: Built, tau: float) -> list[int]:
    """The ranks of all low-rank tensors. Raises as `check_served` does."""
    path.write_bytes(built.file)
    with Container(path) as container:
        check_served(container, tau)
        return [
            served_rank(record, container.table(i), STORED, tau)
            for i, record in enumerate(container.header.tensors)
            if isinstance(record, LowRankRecord)
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.dsvd"


def test_lower(path: Path) -> None:
    built = of(([4.0, 3.0, 2.0], 10.0, 3, 4), ([8.0, 1.0], 10.0, 2, 4))
    assert ranks(path, built, 0.9) == [3, 2]
    assert ranks(path, built, 0.89) == [3, 2]
    assert ranks(path, built, 0.7) == [2, 1]
    assert ranks(path, built, 0.4) == [1, 1]
    assert ranks(path, built, 1e-6) == [1, 1]


def test_more_components_than_tau_takes(path: Path) -> None:
    built = of(([4.0, 3.0, 2.0], 10.0, 2, 4))
    assert ranks(path, built, 0.9) == [3]
    assert ranks(path, built, 0.89) == [2]


def test_capped_at_the_noise(path: Path) -> None:
    for noise in (0, 1, 2):
        built = of(([4.0, 2.0], 10.0, 4, noise))
        assert [ranks(path, built, x) for x in (0.9, 0.8, 0.61, 0.6, 0.1)] == [[2]] * 4 + [[1]]


def test_not_stored(path: Path) -> None:
    """The error names the largest that is, over all tensors; the stored tau is served all the same."""
    built = of(([4.0, 3.0], 10.0, 4, 4), ([4.0, 1.0], 10.0, 4, 4), ([4.0, 3.0], 8.0, 2, 4))
    assert ranks(path, built, 0.9) == [2, 2, 2]
    assert ranks(path, built, 0.5) == [2, 2, 1]
    for tau in (0.51, 0.7, 0.89):
        with pytest.raises(
            TauNotServed, match=r"largest that this version serves is 0\.5"
        ) as caught:
            ranks(path, built, tau)
        assert "--tau 0.5" in caught.value.hint


@pytest.mark.parametrize("tau", [STORED + 1e-6, 1.0, 7.0, math.inf])
def test_above(path: Path, tau: float) -> None:
    with pytest.raises(TauNotServed, match=r"0\.9"):
        ranks(path, of(([4.0], 4.0, 1, 1)), tau)


def test_no_low_rank_tensor(path: Path) -> None:
    assert ranks(path, of(), 0.3) == []
    with pytest.raises(TauNotServed):
        ranks(path, of(), 0.95)


def test_sum_over_norm_that_rounds_up(path: Path) -> None:
    """x is the sum over the norm, and x times the norm is more than the sum."""
    built = rounding_of_tau().build()
    x = 0.573739
    with pytest.raises(TauNotServed):
        ranks(path, built, x)
    assert ranks(path, built, 0.573738) == [1]


@settings(
    max_examples=100, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    singular=st.lists(st.floats(2.0**-9, 2.0**9, width=32), min_size=1, max_size=4),
    more=st.floats(1.0, 3.0),
    tau_rank=st.integers(1, 4),
    noise_rank=st.integers(0, 4),
    tau=st.integers(1000, 900_000).map(lambda tau: tau / 10**6),
)
def test_as_the_spec_has_it(
    path: Path, singular: list[float], more: float, tau_rank: int, noise_rank: int, tau: float
) -> None:
    singular.sort(reverse=True)
    built = of((singular, math.fsum(singular) * more, tau_rank, noise_rank))
    record = next(t for t in built.header["tensors"] if t["kind"] == "low_rank")
    near = math.floor(sum(singular[:1]) / record["nuclear_norm"] * 10**6) / 10**6
    for x in (tau, near, STORED):
        expected = exact.rank_at(record, singular, STORED, x) if x <= STORED else None
        if expected is None:
            with pytest.raises(TauNotServed):
                ranks(path, built, x)
        else:
            assert ranks(path, built, x) == [expected]
