"""The sample of weights: how much is read, and that it tells the change of what is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.checkpoint import Checkpoint, open_checkpoint
from dsvd_registry.checkpoint.checkpoint import Copier, Memory
from dsvd_registry.container.records import BaseTensor
from dsvd_registry.layouts import View, ViewedTensors
from dsvd_registry.reconstruction.base_weights import BaseWeights, UnprovenBase
from dsvd_registry.registry.adding.weight_sample import (
    ELEMENTS,
    RUNS,
    TENSORS,
    relative_change,
    runs,
    sampled_names,
)

from .conftest import Weights, write_safetensors


@pytest.mark.parametrize("elements", [0, 1, 7, ELEMENTS - 1, ELEMENTS])
def test_a_small_tensor_is_taken_whole(elements: int) -> None:
    assert list(runs(elements)) == [(0, elements)]


@pytest.mark.parametrize("elements", [ELEMENTS + 1, ELEMENTS + 999, 3072 * 12288, 2**40])
def test_of_a_large_one_some_runs_from_end_to_end(elements: int) -> None:
    found = list(runs(elements))
    assert len(found) == RUNS
    assert (found[0][0], found[-1][1]) == (0, elements)
    assert sum(end - first for first, end in found) <= ELEMENTS
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(found))


@pytest.mark.parametrize("count", [0, 1, 2, TENSORS, TENSORS + 1, 1133])
def test_names_from_all_parts(count: int) -> None:
    names = [f"layer.{number:04}" for number in range(count)]
    found = sampled_names(reversed(names))
    assert len(found) == len(set(found)) == min(count, TENSORS)
    assert found == sorted(found)
    assert set(found[:1] + found[-1:]) == set(names[:1] + names[-1:])


@dataclass
class Counted(UnprovenBase):
    """A base that counts the bytes that are copied out of it."""

    weights: BaseWeights
    copied: int = 0
    read_whole: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.weights)

    def read(self, tensor: BaseTensor) -> memoryview:
        self.read_whole.append(tensor.name)
        return super().read(tensor)

    def copier(self, tensor: BaseTensor) -> Copier:
        copy = super().copier(tensor)

        def counted(first: int, memory: Memory) -> None:
            self.copied += len(memory)
            copy(first, memory)

        return counted


@dataclass(frozen=True)
class Both:
    """A base and a checkpoint, open."""

    base: Counted
    checkpoint: Checkpoint
    base_file: Path

    def viewed(self, *names: str, view: View | None = None) -> ViewedTensors[BaseTensor]:
        tensors = self.base.weights.tensors
        return ViewedTensors(tuple(tensors[name] for name in names), view or View())

    def change(self, name: str, viewed: ViewedTensors[BaseTensor]) -> float:
        return relative_change(self.checkpoint, self.base, {name: viewed})


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    base, fine_tune = made()
    base_file = write_safetensors(base, tmp_path / "base.safetensors")
    fine_file = write_safetensors(fine_tune, tmp_path / "fine.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", base_file)
        version = registry.add(fine_file, base="base").version
        with (
            registry.repository.open_base(registry.repository.base_of(version)) as weights,
            open_checkpoint(fine_file) as checkpoint,
        ):
            yield Both(Counted(weights), checkpoint, base_file)


def made() -> tuple[Weights, Weights]:
    make = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=make)

    base = {
        "plain": normal(40, 30),
        "half": normal(40, 30).half(),
        "q": normal(8, 12),
        "k": normal(8, 12),
        "tall": normal(30, 20),
        "odd": normal(16),
        "large": normal(512, 512),
    }
    fused = torch.cat([base["q"], base["k"]])
    fine_tune = {
        "plain": base["plain"] + 0.01 * normal(40, 30),
        "half": (base["half"].float() + 0.1 * normal(40, 30)).bfloat16(),
        "fused": fused + 0.02 * normal(16, 12),
        "wide": base["tall"].t() + 0.03 * normal(20, 30),
        "longer": torch.cat([base["plain"] + 0.04 * normal(40, 30), 100 * normal(3, 30)]),
        "odd": torch.cat([base["odd"][:15] + 1, torch.tensor([float("nan")])]),
        "large": base["large"] + 0.01 * normal(512, 512),
    }
    return base, fine_tune


def distance(fine_tune: torch.Tensor, base: torch.Tensor) -> float:
    return float((fine_tune.double() - base.double()).norm() / base.double().norm())


def test_the_change_of_what_is_taken_whole(both: Both) -> None:
    base, fine_tune = made()
    for name in ("plain", "half"):
        expected = distance(fine_tune[name], base[name])
        assert both.change(name, both.viewed(name)) == pytest.approx(expected, rel=1e-9)
    odd = distance(fine_tune["odd"][:15], base["odd"][:15])  # without the NaN
    assert both.change("odd", both.viewed("odd")) == pytest.approx(odd, rel=1e-9)
    longer = distance(fine_tune["longer"][:40], base["plain"])  # rows that the base has
    assert both.change("longer", both.viewed("plain")) == pytest.approx(longer, rel=1e-9)


def test_the_change_through_a_view(both: Both) -> None:
    base, fine_tune = made()
    joined = both.viewed("q", "k", view=View("concatenate"))
    expected = distance(fine_tune["fused"], torch.cat([base["q"], base["k"]]))
    assert both.change("fused", joined) == pytest.approx(expected, rel=1e-9)
    turned = both.viewed("tall", view=View("transpose"))
    expected = distance(fine_tune["wide"], base["tall"].t())
    assert both.change("wide", turned) == pytest.approx(expected, rel=1e-9)


def test_a_sample_tells_the_change_of_the_whole(both: Both) -> None:
    base, fine_tune = made()
    change = both.change("large", both.viewed("large"))
    assert change == pytest.approx(distance(fine_tune["large"], base["large"]), rel=0.05)


def test_no_more_is_read_of_the_base(both: Both) -> None:
    """Not even to compare its digest, for which a tensor is read whole."""
    both.change("large", both.viewed("large"))
    assert both.base.copied == 4 * ELEMENTS < both.base.weights.tensors["large"].shape[0] ** 2
    assert both.base.read_whole == []


def test_nothing_changed(both: Both) -> None:
    tensors = both.base.weights.tensors
    with open_checkpoint(both.base_file) as same:
        every = {name: both.viewed(name) for name in tensors}
        assert relative_change(same, both.base, every) == 0
    assert relative_change(both.checkpoint, both.base, {}) == 0
