"""One entry of a torch file that has several: chosen by its name, and known by it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dsvd_registry import Registry
from dsvd_registry.errors import CheckpointError, InvalidArgument

from .conftest import Weights, write_safetensors

make = torch.Generator().manual_seed(4)
BASE = {"w": torch.randn(40, 32, generator=make), "b": torch.randn(32, generator=make)}


def tuned(seed: int) -> Weights:
    numbers = torch.Generator().manual_seed(seed)
    return {n: t + 1e-2 * torch.randn(t.shape, generator=numbers) for n, t in BASE.items()}


MODEL, EMA = tuned(1), tuned(2)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    torch.save({"model": MODEL, "ema": EMA, "step": 7}, tmp_path / "both.ckpt")
    return tmp_path / "both.ckpt"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("base", write_safetensors(BASE, tmp_path / "base.safetensors"))
        yield opened


def given(registry: Registry, ref: str, folder: Path) -> Weights:
    path = folder / f"{ref}.safetensors"
    registry.materialize(ref, path)
    return dict(load_file(path))


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_each_entry_is_a_version_of_its_own(registry: Registry, both: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="several state dicts: 'model', 'ema'"):
        registry.add(both, base="base")
    first = registry.add(both, base="base", weights="model", lossless=True)
    second = registry.add(both, base="base", weights="ema", lossless=True)
    assert (first.ref, second.ref, second.created) == ("both@1", "both@2", True)
    assert first.version.container != second.version.container
    assert equal(given(registry, "both@1", tmp_path), MODEL)
    assert equal(given(registry, "both@2", tmp_path), EMA)
    assert registry.verify(deep=True).is_well


@pytest.mark.parametrize("settings", [{}, {"lossless": True}, {"max_error": 0.3}])
def test_added_again_it_is_there(
    registry: Registry, both: Path, settings: dict[str, float]
) -> None:
    """Seen to fail with `_known` that takes any version of the file for a lossless one."""
    for name, ref in (("model", "both@1"), ("ema", "both@2")):
        added = registry.add(both, base="base", weights=name, **settings)  # type: ignore[arg-type]
        assert (added.ref, added.created) == (ref, True)
    for name, ref in (("model", "both@1"), ("ema", "both@2"), ("model", "both@1")):
        again = registry.add(both, base="base", weights=name, **settings)  # type: ignore[arg-type]
        assert (again.ref, again.created) == (ref, False)


def test_a_lossy_one_becomes_lossless_as_itself(
    registry: Registry, both: Path, tmp_path: Path
) -> None:
    for name in ("model", "ema"):
        registry.add(both, base="base", weights=name)
    upgraded = registry.add(both, base="base", weights="model", lossless=True)
    assert (upgraded.ref, upgraded.created, upgraded.upgraded) == ("both@1", False, True)
    assert equal(given(registry, "both@1", tmp_path), MODEL)


def test_many_at_once_and_the_base_found(registry: Registry, both: Path, tmp_path: Path) -> None:
    torch.save({"model": MODEL, "step": 7}, tmp_path / "one.ckpt")
    found = registry.add_many([both, tmp_path / "one.ckpt"], weights="ema", lossless=True)
    assert [file.outcome for file in found.files] == ["added", "refused"]
    refusal = found.files[1].refusal
    assert refusal is not None
    assert (refusal.type, "'model'" in refusal.hint) == ("InvalidArgument", True)
    assert equal(given(registry, "both", tmp_path), EMA)


def test_a_base_of_one_entry(registry: Registry, both: Path, tmp_path: Path) -> None:
    """The entry alone is stored: what opens the base later has nothing to choose."""
    torch.save({"model": MODEL, "ema": BASE}, tmp_path / "bases.ckpt")
    with pytest.raises(InvalidArgument, match="linked"):
        registry.add_base("linked", tmp_path / "bases.ckpt", link=True, weights="model")
    added = registry.add_base("trained", tmp_path / "bases.ckpt", weights="model")
    plain = write_safetensors(MODEL, tmp_path / "plain.safetensors")
    assert added.format == "safetensors"
    again = registry.add_base("trained", plain)
    assert again.digest == added.digest
    registry.add(both, base="trained", weights="ema", name="x", lossless=True)
    assert equal(given(registry, "x", tmp_path), EMA)
    assert registry.verify(deep=True).is_well


def test_files_without_entries(registry: Registry, both: Path, tmp_path: Path) -> None:
    path = write_safetensors(MODEL, tmp_path / "x.safetensors")
    with pytest.raises(InvalidArgument, match="is a safetensors file, which has no entries"):
        registry.add(path, base="base", weights="ema")
    with pytest.raises(InvalidArgument, match="no state dict under the name 'emma'") as caught:
        registry.add(both, base="base", weights="emma")
    assert str(both) in str(caught.value)
    assert "'model', 'ema'" in caught.value.hint
    assert registry.versions() == []
