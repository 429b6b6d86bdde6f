"""Fine-tunes that go in mostly raw: taken in, with the reasons said loudly; wrappers looked through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from registry.conftest import Weights, bits, write_safetensors
from safetensors.torch import load_file

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch, UnsureBase

FP8 = torch.float8_e4m3fn


def made(seed: int) -> Weights:
    numbers = torch.Generator().manual_seed(seed)
    return {
        "blocks.0.attn.to_q.weight": torch.randn(48, 40, generator=numbers),
        "blocks.0.ff.net.0.proj.weight": torch.randn(64, 40, generator=numbers),
        "blocks.0.norm.weight": torch.randn(40, generator=numbers),
        "conv_in.weight": torch.randn(16, 4, 3, 3, generator=numbers),
    }


BASE = made(1)


def tuned() -> Weights:
    numbers = torch.Generator().manual_seed(2)
    return {n: t + 1e-2 * torch.randn(t.shape, generator=numbers) for n, t in BASE.items()}


def fp8(weights: Weights) -> Weights:
    return {name: tensor.to(FP8) for name, tensor in weights.items()}


def fp8_matrices(weights: Weights) -> Weights:
    """Matrices of FP8 as they are mostly saved: norms keep their dtype, scales accompany the weights."""
    quantised = {n: t.to(FP8) if t.ndim > 1 else t for n, t in weights.items()}
    scales = {
        n.replace(".weight", ".scale_weight"): torch.ones(())
        for n, t in weights.items()
        if t.ndim > 1
    }
    return quantised | scales


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("base", write_safetensors(BASE, tmp_path / "base.safetensors"))
        yield opened


SETTINGS = [{}, {"lossless": True}, {"max_error": 0.3}, {"budget": 40_000}, {"tau": 0.9}]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("quantised", [fp8, fp8_matrices])
@pytest.mark.parametrize("base", ["base", None])
def test_quantised(
    registry: Registry,
    tmp_path: Path,
    base: str | None,
    quantised: Callable[[Weights], Weights],
    settings: dict[str, float],
) -> None:
    """Seen to fail: "shares no tensor with the base", beside "100 % of the tensors"."""
    weights = quantised(tuned())
    path = write_safetensors(weights, tmp_path / "q.safetensors")
    added = registry.add(path, base=base, **settings)  # type: ignore[arg-type]
    assert added.version.base_name == "base"
    given = tmp_path / "given.safetensors"
    registry.materialize(added.ref, given)
    found = load_file(given)
    of_dtype = {name for name, tensor in weights.items() if tensor.dtype == FP8}
    assert all(bits(found[name]) == bits(weights[name]) for name in of_dtype)
    if settings.get("lossless") or quantised is fp8:
        assert given.read_bytes() == path.read_bytes()
    size = {name: tensor.nbytes for name, tensor in weights.items()}
    part = sum(size[name] for name in of_dtype) / sum(size.values())
    report = registry.report(added.ref)
    if settings == {"lossless": True}:  # predicted from the base, but for vectors of a few codes
        matrices = {name for name in of_dtype if weights[name].ndim > 1}
        assert {row.name for row in report.tensors if row.kind == "quantised"} == matrices
        assert report.warnings == ()
    else:
        (warning,) = report.warnings
        assert f"{len(of_dtype)} tensors ({part:.0%}): quantised weights" in warning
        assert "--lossless" in warning
    assert registry.verify(deep=True).is_well


def test_the_base_that_a_quantised_file_fits(registry: Registry, tmp_path: Path) -> None:
    path = write_safetensors(fp8(tuned()), tmp_path / "q.safetensors")
    match = registry.best_base(path)
    assert (match.best.matched, match.best.deltas, match.best.change) == (1, 0, None)
    assert str(match.best) == "base (100 % of the tensors by name and shape, deltas of 0 %)"
    assert match.is_sure
    registry.add_base("other", write_safetensors(made(9), tmp_path / "other.safetensors"))
    with pytest.raises(UnsureBase, match="deltas of 0 %"):
        registry.best_base(path).sure()  # weights would tell, and these cannot be compared


def test_a_full_base_of_a_quantised_one(registry: Registry, tmp_path: Path) -> None:
    registry.add_base("fp8", write_safetensors(fp8(BASE), tmp_path / "fp8.safetensors"))
    path = write_safetensors(tuned(), tmp_path / "full.safetensors")
    (warning,) = registry.report(registry.add(path, base="fp8").ref).warnings
    assert warning.startswith("100% of the bytes are stored as they are")
    assert "4 tensors (100%): the base's tensor is not F32, F16 or BF16" in warning
    assert registry.best_base(path).sure() == "base"  # of which there are deltas


def test_packed_weights_of_the_same_names(registry: Registry, tmp_path: Path) -> None:
    """4 bits: two weights a byte, so another shape; norms are as they were."""
    packed = {
        n: torch.zeros(t.numel() // 2, 1, dtype=torch.uint8) if t.ndim > 1 else t
        for n, t in tuned().items()
    }
    path = write_safetensors(packed, tmp_path / "nf4.safetensors")
    (warning,) = registry.report(registry.add(path, base="base").ref).warnings
    assert "3 tensors" in warning and "another shape" in warning
    del packed["blocks.0.norm.weight"]
    other = write_safetensors(packed, tmp_path / "none.safetensors")
    with pytest.raises(BaseMismatch, match="3 have its names, but other shapes"):
        registry.add(other, base="base")


def test_what_has_deltas_says_nothing(registry: Registry, tmp_path: Path) -> None:
    half = tuned()
    half["conv_in.weight"] = half["conv_in.weight"].to(FP8)  # a small part of the bytes
    path = write_safetensors(half, tmp_path / "x.safetensors")
    assert registry.report(registry.add(path, base="base").ref).warnings == ()


WRAPPED: dict[str, Callable[[str], str]] = {
    "`_orig_mod.`": lambda name: name.replace("blocks.0.", "blocks.0._orig_mod."),
    "`module.`": lambda name: f"module.{name}",
    "`module.`, `_orig_mod.`": lambda name: f"module.module._orig_mod._orig_mod.{name}",
    "`net.`": lambda name: f"net.net.{name}",
    "`_fsdp_wrapped_module.`, `_checkpoint_wrapped_module.`": lambda name: name.replace(
        "blocks.0.", "blocks._fsdp_wrapped_module.0._checkpoint_wrapped_module."
    ),
}


@pytest.mark.parametrize("words", WRAPPED)
@pytest.mark.parametrize("base", ["base", None])
def test_wrapped(registry: Registry, tmp_path: Path, words: str, base: str | None) -> None:
    """Seen to fail: an inner wrapper was stored whole without a word, an outer one refused."""
    weights = {WRAPPED[words](name): tensor for name, tensor in tuned().items()}
    path = write_safetensors(weights, tmp_path / "wrapped.safetensors")
    added = registry.add(path, base=base, tau=1, grid_noise=1e-3)
    report = registry.report(added.ref)
    assert not [row for row in report.tensors if row.kind == "raw"]
    (warning,) = report.warnings
    assert words in warning and "looked through" in warning
    registry.materialize(added.ref, tmp_path / "given.safetensors")
    found = load_file(tmp_path / "given.safetensors")
    assert found.keys() == weights.keys()  # its own names
    assert all(
        (found[name] - tensor).norm() < 1e-2 * (tensor - BASE[plain]).norm()
        for (name, tensor), plain in zip(weights.items(), BASE, strict=True)
    )
    unwrapped = write_safetensors(tuned(), tmp_path / "plain.safetensors")
    assert registry.report(registry.add(unwrapped, base="base").ref).warnings == ()


def test_a_wrapped_base(registry: Registry, tmp_path: Path) -> None:
    wrapped = {f"_orig_mod.{name}": tensor for name, tensor in BASE.items()}
    registry.add_base("wrapped", write_safetensors(wrapped, tmp_path / "wrapped.safetensors"))
    path = write_safetensors(tuned(), tmp_path / "x.safetensors")
    report = registry.report(registry.add(path, base="wrapped").ref)
    assert not [row for row in report.tensors if row.kind == "raw"]
    (warning,) = report.warnings
    assert "the base's tensors" in warning and "`_orig_mod.`" in warning


def test_names_that_nothing_explains(registry: Registry, tmp_path: Path) -> None:
    """A warning gives the reason if no delta was found for more than half of the bytes."""
    weights = tuned()
    strange = {f"mine.{name}": tensor for name, tensor in weights.items() if tensor.ndim > 1}
    strange["blocks.0.norm.weight"] = weights["blocks.0.norm.weight"]
    path = write_safetensors(strange, tmp_path / "x.safetensors")
    (warning,) = registry.report(registry.add(path, base="base").ref).warnings
    assert "3 tensors" in warning and "the base has no tensor of this name" in warning
