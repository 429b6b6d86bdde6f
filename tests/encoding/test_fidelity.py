"""An error or a size asked for is met, never exceeded, and recorded with what was reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry.conftest import Pair, Weights, object_path
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.catalog import VersionRecord
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import Encoding, LowRankRecord
from dsvd_registry.container.totals import total_error
from dsvd_registry.encoding import water_filling
from dsvd_registry.errors import InvalidArgument

NAMES = 40  # of the trained pair's tensors: enough of every kind, quick to encode many times
EXAMPLES = 4  # of a wish, for each dtype: each is searched for by many trials


@dataclass(frozen=True)
class Shelf:
    """A registry with a base, and a fine-tune of it."""

    registry: Registry
    base: Weights
    tuned: Weights
    file: Path

    def relative_error(self, path: Path) -> float:
        """The relative error of the whole delta, computed from the written file alone."""
        result = load_file(path)
        off = torch.stack(
            [(result[n].double() - tuned.double()).norm() for n, tuned in self.tuned.items()]
        )
        size = torch.stack(
            [(tuned.double() - self.base[n].double()).norm() for n, tuned in self.tuned.items()]
        )
        return float(off.norm() / size.norm())

    def encoding(self, version: VersionRecord) -> Encoding:
        with Container(object_path(self.registry.folder, version.container)) as container:
            return container.header.encoding

    def error(self, version: VersionRecord) -> float:
        """The error that the records tell."""
        with Container(object_path(self.registry.folder, version.container)) as container:
            return total_error(container.header.tensors)


@pytest.fixture(scope="module", params=[torch.float32, torch.float16, torch.bfloat16], ids=str)
def shelf(
    request: pytest.FixtureRequest, trained: Pair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shelf]:
    """The trained pair's fine-tune, also as it would be saved in half precision."""
    folder = tmp_path_factory.mktemp("fidelity")
    names = sorted(trained.base)[:: len(trained.base) // NAMES]
    base = {name: trained.base[name] for name in names}
    tuned = {name: trained.tuned[name].to(request.param) for name in names}
    save_file(base, folder / "base.safetensors")
    save_file(tuned, folder / "ft.safetensors")
    with Registry.init(folder / "registry") as registry:
        registry.add_base("base", folder / "base.safetensors")
        yield Shelf(registry, base, tuned, folder / "ft.safetensors")


@settings(derandomize=True, max_examples=EXAMPLES, deadline=None)
@given(exponent=st.floats(-3.0, -0.05))
def test_an_error_is_met_and_never_exceeded(shelf: Shelf, exponent: float) -> None:
    asked = 10.0**exponent
    version = shelf.registry.add(shelf.file, base="base", name="m", max_error=asked).version
    told, encoding = shelf.error(version), shelf.encoding(version)
    assert encoding.max_error == asked and encoding.budget is None
    output = shelf.file.parent / "out.safetensors"
    shelf.registry.materialize(version.ref, output, replace=True)
    found = shelf.relative_error(output)
    assert found <= asked
    assert found <= told * (1 + 1e-5) <= asked * (1 + 1e-5)
    assert shelf.registry.report(version.ref).error == pytest.approx(told, rel=1e-12)


@pytest.fixture(scope="module")
def smallest(shelf: Shelf) -> int:
    """Bytes of the smallest container: the one named when the impossible is asked."""
    with pytest.raises(InvalidArgument) as caught:
        shelf.registry.add(shelf.file, base="base", name="m", budget=100)
    assert caught.value.hint is not None
    return int("".join(c for c in caught.value.hint.split(":")[0] if c.isdigit()))


@settings(derandomize=True, max_examples=EXAMPLES, deadline=None)
@given(share=st.floats(1.02, 8.0))
def test_a_budget_is_met_and_never_exceeded(shelf: Shelf, smallest: int, share: float) -> None:
    budget = int(share * smallest)
    version = shelf.registry.add(shelf.file, base="base", name="m", budget=budget).version
    encoding = shelf.encoding(version)
    assert encoding.budget == budget and encoding.max_error is None
    assert version.size <= budget
    assert object_path(shelf.registry.folder, version.container).stat().st_size == version.size
    output = shelf.file.parent / "out.safetensors"
    shelf.registry.materialize(version.ref, output, replace=True)
    assert shelf.relative_error(output) <= shelf.error(version) * (1 + 1e-5)


def test_the_nearest_budget_that_is_named_is_possible(shelf: Shelf, smallest: int) -> None:
    assert 100 < smallest < shelf.file.stat().st_size
    version = shelf.registry.add(shelf.file, base="base", name="least", budget=smallest).version
    assert version.size <= smallest


def test_more_bytes_are_less_error_and_a_larger_error_fewer_bytes(shelf: Shelf) -> None:
    by_error = [
        shelf.registry.add(shelf.file, base="base", name="e", max_error=error).version
        for error in (0.8, 0.4, 0.2, 0.05)
    ]
    sizes = [version.size for version in by_error]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    errors = [
        shelf.error(
            shelf.registry.add(shelf.file, base="base", name="b", budget=size + 200).version
        )
        for size in sizes
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0]


def test_the_same_error_takes_fewer_bytes_than_a_tau_that_reaches_it(shelf: Shelf) -> None:
    for tau in (0.2, 0.5):
        by_tau = shelf.registry.add(shelf.file, base="base", name="t", tau=tau)
        error = shelf.registry.report(by_tau.ref).error
        by_error = shelf.registry.add(shelf.file, base="base", name="t", max_error=error)
        # Of bf16, most of the error is the rounding of the result, whatever the delta.
        assert by_error.version.size < 1.01 * by_tau.version.size


def test_without_room_for_what_a_survey_found_an_error_is_met_as_well(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = shelf.registry.add(shelf.file, base="base", name="m", max_error=0.31).version.size
    monkeypatch.setattr(water_filling, "KEPT_BYTES", 0)
    version = shelf.registry.add(shelf.file, base="base", name="m", max_error=0.3100001).version
    assert shelf.error(version) <= 0.3100001
    assert version.size == pytest.approx(size, rel=0.01)


def test_the_tau_of_the_header_is_one_that_is_served(shelf: Shelf) -> None:
    version = shelf.registry.add(shelf.file, base="base", name="m", max_error=0.3).version
    with Container(object_path(shelf.registry.folder, version.container)) as container:
        tau = container.header.encoding.tau
        low_rank = [r for r in container.header.tensors if isinstance(r, LowRankRecord)]
    assert low_rank and all(record.tau_rank <= record.rank for record in low_rank)
    output = shelf.file.parent / "out.safetensors"
    made = shelf.registry.materialize(version.ref, output, tau=0.9 * tau, replace=True)
    assert not made.recorded


def test_a_wish_is_recognised_again(shelf: Shelf) -> None:
    wishes = (
        {"max_error": 0.25},
        {"budget": 100_000},
        {"tau": 0.3},
        {"tau": 0.3, "keep_noise": True},
    )
    added = [shelf.registry.add(shelf.file, base="base", name="wish", **wish) for wish in wishes]
    again = [shelf.registry.add(shelf.file, base="base", name="wish", **wish) for wish in wishes]
    assert [a.ref for a in added] == [f"wish@{number}" for number in (1, 2, 3, 4)]
    assert [a.ref for a in again] == [a.ref for a in added]
    assert not any(a.created for a in again)


def test_a_fine_tune_that_is_its_base_meets_every_wish(shelf: Shelf) -> None:
    file = shelf.file.parent / "same.safetensors"
    save_file(shelf.base, file)
    exact = shelf.registry.add(file, base="base", name="same", max_error=0.1)
    assert shelf.error(exact.version) == 0.0
    shelf.registry.add(file, base="base", name="same", budget=exact.version.size + 200)


@pytest.mark.parametrize(
    "wish",
    [
        {"max_error": 0.0},
        {"max_error": 1.0},
        {"max_error": float("nan")},
        {"budget": 0},
        {"budget": -5},
        {"tau": 0.5, "max_error": 0.3},
        {"tau": 0.5, "budget": 1000},
        {"max_error": 0.3, "budget": 1000},
        {"max_error": 0.3, "grid_noise": 0.1},
        {"budget": 10_000, "keep_noise": True},
        {"device": "abacus"},
    ],
    ids=str,
)
def test_a_wish_that_makes_no_sense_is_refused(shelf: Shelf, wish: dict[str, float]) -> None:
    before = shelf.registry.versions()
    with pytest.raises(InvalidArgument):
        shelf.registry.add(shelf.file, base="base", name="m", **wish)
    assert shelf.registry.versions() == before
