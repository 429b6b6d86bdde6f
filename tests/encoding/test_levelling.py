"""Errors and budgets over many spectra, dtypes and sizes, with constants among the weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.encoding import water_filling
from dsvd_registry.errors import InvalidArgument

from .inputs import (
    DTYPES,
    SPECTRA,
    Weights,
    cast,
    constants,
    farthest,
    relative_error,
    weights_of_a_model,
    write,
)

ERRORS = (0.8, 0.4, 0.1, 0.03)
LADDER = (1.0, 1.02, 1.2, 1.7, 2.5, 8.0)  # times the smallest container
CASES = [
    *((spectrum, "fp32", "fp32", True) for spectrum in SPECTRA),
    ("sparse", "fp16", "fp16", True),
    ("low rank", "fp16", "fp16", False),
    ("falling", "fp32", "fp16", False),
    ("mixed", "fp32", "bf16", True),
    ("flat", "bf16", "bf16", False),
]


@dataclass(frozen=True)
class Case:
    """A registry with a base, and a fine-tune of that base."""

    registry: Registry
    base: Weights
    tuned: Weights
    file: Path

    def added(self, **wish: float) -> tuple[int, float, float]:
        """Bytes of the container; the error of all weights, and the largest of one tensor."""
        version = self.registry.add(self.file, base="base", name="m", **wish).version
        output = self.file.parent / "out.safetensors"
        self.registry.materialize(version.ref, output, replace=True)
        error = relative_error(output, self.base, self.tuned)
        return version.size, error, farthest(output, self.base, self.tuned)

    def smallest(self, asked: int = 100) -> int:
        with pytest.raises(InvalidArgument) as caught:
            self.registry.add(self.file, base="base", name="m", budget=asked)
        assert caught.value.hint is not None
        return int("".join(c for c in caught.value.hint.split(":")[0] if c.isdigit()))


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    spectrum, base_dtype, dtype, with_constants = request.param
    base, tuned = weights_of_a_model(SPECTRA.index(spectrum), spectrum)
    base, tuned = cast(base, DTYPES[base_dtype]), cast(tuned, DTYPES[dtype])
    before, after = constants(1) if with_constants else ({}, {})
    before, after = cast(before, DTYPES[base_dtype]), cast(after, DTYPES[dtype])
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write(base | before, tmp_path / "base.safetensors"))
        yield Case(registry, base, tuned, write(tuned | after, tmp_path / "ft.safetensors"))


def test_a_budget_is_met_and_a_larger_one_is_never_worse(case: Case) -> None:
    least, errors = case.smallest(), []
    for share in LADDER:
        budget = int(share * least)
        size, error, largest = case.added(budget=budget)
        assert size <= budget
        assert largest < 1
        errors.append(error)
    assert all(one >= other for one, other in itertools.pairwise(errors)), errors
    assert errors[-1] < errors[0]


def test_the_bytes_of_an_error_give_that_error_as_a_budget(case: Case) -> None:
    sizes = []
    for asked in ERRORS:
        size, error, largest = case.added(max_error=asked)
        assert error <= asked and largest < 1
        sizes.append(size)
        # Some room: the plan of an error is made without a size, and may end just at a component.
        found, by_budget, _ = case.added(budget=size + size // 50 + 64)
        assert found <= size + size // 50 + 64
        assert by_budget <= 1.05 * asked
    assert sizes == sorted(sizes)


def test_the_budget_that_is_named_is_possible(case: Case) -> None:
    """Whatever the digits of the one asked for: both stand in the header, which compresses to a few
    dozen bytes more or fewer with other ones.
    """
    named = {asked: case.smallest(asked) for asked in (77, 1234)}
    assert max(named.values()) - min(named.values()) < 100
    for least in sorted(set(named.values())):
        version = case.registry.add(case.file, base="base", name="m", budget=least).version
        assert version.size <= least <= version.size + 150


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_change_that_hardly_counts_is_not_made_worse(dtype: str, tmp_path: Path) -> None:
    """One tensor has nearly all of the change, so that the others store next to nothing."""
    base, tuned = weights_of_a_model(9, "flat")
    tuned["conv.weight"] = base["conv.weight"] + 256 * (tuned["conv.weight"] - base["conv.weight"])
    for name in ("blocks.1.weight", "blocks.2.bias"):  # a single element moves
        tuned[name] = base[name].clone()
        tuned[name].view(-1)[7] += 2.0**-7
    base, tuned = cast(base, torch.float32), cast(tuned, DTYPES[dtype])
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write(base, tmp_path / "base.safetensors"))
        case = Case(registry, base, tuned, write(tuned, tmp_path / "ft.safetensors"))
        for wish in (
            {"max_error": 0.9},
            {"max_error": 0.5},
            {"budget": int(1.1 * case.smallest())},
        ):
            assert case.added(**wish)[2] < 1


def test_without_any_delta_there_is_one_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = weights_of_a_model(3, "flat")
    drafts = []
    made = water_filling.encoded
    monkeypatch.setattr(
        water_filling, "encoded", lambda *asked: drafts.append(asked) or made(*asked)
    )
    tuned = base | {"ids": torch.arange(9)}
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", write(base, tmp_path / "base.safetensors"))
        ref = registry.add(
            write(tuned, tmp_path / "ft.safetensors"), base="base", name="m", max_error=0.1
        ).ref
        assert registry.report(ref).error == 0
    assert len(drafts) == 1
