"""A base in one layout and a fine-tune in another: small, really trained models of diffusers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from layouts.original import State
from layouts.pipelines import PIPELINES, models, randomised, single_file
from layouts.training import trained
from safetensors.torch import load_file, save_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch

TITLES = {"sd1": "Diffusion 1.x", "sd2": "Diffusion 2.x", "sdxl": "Diffusion XL"}


@dataclass(frozen=True)
class Tuned:
    """A pipeline before and after some steps, as one file in each layout."""

    family: str
    base: dict[str, Path]
    tuned: dict[str, Path]


def named(states: dict[str, State]) -> State:
    """All parts in one state dict, with the names of diffusers."""
    return {f"{part}.{name}": t for part, state in states.items() for name, t in state.items()}


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def pair(request, tmp_path_factory) -> Tuned:
    family, folder = request.param, tmp_path_factory.mktemp(request.param)

    def written(pipeline, label: str) -> dict[str, Path]:
        states = {name: model.state_dict() for name, model in models(pipeline).items()}
        found = {}
        for layout, state in (
            ("original", single_file(family, states)),
            ("diffusers", named(states)),
        ):
            found[layout] = folder / f"{label}.{layout}.safetensors"
            save_file({n: t.detach().clone() for n, t in state.items()}, found[layout])
        return found

    with one_thread():
        pipeline = PIPELINES[family]()
        with torch.no_grad():
            for model in models(randomised(pipeline)).values():
                for parameter in model.parameters():
                    parameter.mul_(0.05)
        base = written(pipeline, "base")
        trained(pipeline)
        return Tuned(family, base, written(pipeline, "tuned"))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.init(tmp_path / "registry")


@pytest.mark.parametrize(("base", "tuned"), [("original", "diffusers"), ("diffusers", "original")])
def test_across(pair: Tuned, registry: Registry, tmp_path: Path, base: str, tuned: str) -> None:
    registry.add_base("base", pair.base[base])
    added = registry.add(pair.tuned[tuned], base="base", name="subject", tau=1.0)
    report = registry.report(added.ref)
    source = load_file(pair.tuned[tuned])
    assert {row.name for row in report.tensors} == source.keys()
    assert not [row.name for row in report.tensors if row.reason in ("new", "shape")]
    kinds = {row.kind for row in report.tensors}
    assert {"same", "low_rank"} <= kinds
    made = registry.materialize("subject", tmp_path / "made.safetensors")
    result = load_file(made.path)
    with registry.tensors("subject") as tensors:
        for name, tensor in source.items():
            assert torch.equal(tensors[name], result[name])
            assert result[name].shape == tensor.shape
            assert (result[name] - tensor).norm() <= 1e-4 * max(1.0, float(tensor.norm()))
    unchanged = [row.name for row in report.tensors if row.kind == "same"]
    assert all(torch.equal(result[name], source[name]) for name in unchanged)
    assert any(name.startswith(("vae.", "first_stage_model.")) for name in unchanged)
    assert registry.verify("subject", deep=True).is_well


def test_the_layout_of_the_base_costs_nothing(
    pair: Tuned, registry: Registry, tmp_path: Path
) -> None:
    """The same delta is taken of the same numbers, wherever they stand in the base."""
    sizes = {}
    for layout in ("original", "diffusers"):
        registry.add_base(layout, pair.base[layout])
        added = registry.add(pair.tuned["diffusers"], base=layout, name=layout, tau=0.8)
        sizes[layout] = added.version.size
    # Names of base tensors of another layout stand in the header besides.
    assert sizes["original"] < 1.25 * sizes["diffusers"]
    made = {}
    for layout in sizes:
        registry.materialize(layout, tmp_path / f"{layout}.safetensors")
        made[layout] = load_file(tmp_path / f"{layout}.safetensors")
    for name, tensor in made["original"].items():
        assert torch.equal(tensor, made["diffusers"][name]), name


def test_reading_needs_neither_torch_nor_diffusers(
    pair: Tuned, registry: Registry, tmp_path: Path
) -> None:
    registry.add_base("base", pair.base["original"])
    registry.add(pair.tuned["diffusers"], base="base", name="subject")
    script = (
        "import sys; from dsvd_registry import Registry\n"
        f"Registry.open({str(registry.folder)!r}).materialize('subject', {str(tmp_path / 'm')!r})\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_another_family_is_told_by_name(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    other = "sdxl" if pair.family == "sd1" else "sd1"
    pipeline = PIPELINES[other]()
    states = {name: model.state_dict() for name, model in models(pipeline).items()}
    save_file({n: t.clone() for n, t in named(states).items()}, tmp_path / "other.safetensors")
    registry.add_base("base", pair.base["original"])
    with pytest.raises(BaseMismatch, match="Stable Diffusion") as caught:
        registry.add(tmp_path / "other.safetensors", base="base", name="subject")
    for family in (pair.family, other):
        assert TITLES[family] in str(caught.value)
    assert registry.versions() == []
