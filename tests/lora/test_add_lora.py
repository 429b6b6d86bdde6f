"""A LoRA file as a version: the result equals that of diffusers, which merges the same LoRA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts.original import State
from safetensors.torch import load_file

from dsvd_registry import Registry

from .files import kohya
from .small import weights
from .training import LAYOUTS, Trained, merged_by_diffusers, save

FAMILIES = ("sd1", "sd2", "sdxl")
ROUNDING = 2.0**-23  # of fp32 weights, on both sides


def close(result: State, merged: State, base: State, error: float) -> None:
    """Check that every tensor differs from diffusers' by `error` and fp32's rounding at most."""
    assert result.keys() == base.keys() == merged.keys()
    for name, before in base.items():
        off = float((result[name].double() - merged[name].double()).norm())
        change = float((merged[name].double() - before.double()).norm())
        assert off <= error * change + ROUNDING * float(before.double().norm()), name
        assert (off == 0) or change


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_diffusers(
    family: str, layout: str, lora_of: Callable[[str], Trained], registry: Registry, tmp_path: Path
) -> None:
    trained = lora_of(family)
    registry.add_base("base", trained.base.files[layout])
    added = registry.add(trained.file, base="base", name="lora")
    base = load_file(trained.base.files[layout])
    made = registry.materialize("lora", tmp_path / "merged.safetensors")
    written = load_file(made.path)
    close(written, trained.merged[layout], base, 1e-5)
    report = registry.report(added.ref)
    assert report.tau == 1
    assert report.left_out == ()
    changed = {n for n, t in base.items() if not torch.equal(t, trained.merged[layout][n])}
    assert {row.name for row in report.tensors if row.kind == "low_rank"} == changed
    assert {row.name for row in report.tensors if row.kind == "same"} == base.keys() - changed
    assert registry.verify("lora", deep=True).is_well


@pytest.mark.parametrize(
    ("family", "words", "layout"),
    [
        ("sd1", "diffusers", "diffusers"),
        ("sd2", "diffusers", "original"),
        ("sdxl", "diffusers", "original"),
        ("sdxl", "original", "diffusers"),
        ("sdxl", "original", "original"),
    ],
)
def test_a_file_of_kohya(
    family: str,
    words: str,
    layout: str,
    lora_of: Callable[[str], Trained],
    registry: Registry,
    tmp_path: Path,
) -> None:
    """The file has an alpha for each module."""
    trained = lora_of(family)
    file = save(kohya(trained, original_words=words == "original"), tmp_path / "lora.safetensors")
    registry.add_base("base", trained.base.files[layout])
    registry.add(file, base="base", name="lora")
    base = load_file(trained.base.files[layout])
    close(weights(registry, "lora"), trained.merged[layout], base, 1e-5)


@pytest.mark.parametrize(("family", "layout"), [("sd1", "original"), ("sdxl", "diffusers")])
def test_a_file_of_kohya_as_diffusers_loads_it(
    family: str,
    layout: str,
    lora_of: Callable[[str], Trained],
    registry: Registry,
    tmp_path: Path,
) -> None:
    """The file has one alpha for all: diffusers 0.42 mixes up different alphas of attention layers."""
    trained = lora_of(family)
    state = kohya(trained, original_words=family == "sdxl", alpha=2.0)
    file = save(state, tmp_path / "lora.safetensors")
    merged = merged_by_diffusers(trained.base, file, list(trained.layers))
    registry.add_base("base", trained.base.files[layout])
    registry.add(file, base="base", name="lora")
    base = load_file(trained.base.files[layout])
    close(weights(registry, "lora"), merged[layout], base, 1e-5)
