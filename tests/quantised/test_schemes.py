"""Quantised checkpoints of every known scheme: kept to the byte, by what differs from the base's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, InvalidArgument, TauNotServed

from .conftest import Weights, saved
from .quantisers import (
    bnb_int8,
    fp8,
    int8,
    is_quantised,
    mxfp4,
    mxfp8,
    nf4,
    nvfp4,
    quantised,
)

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
Layer = Callable[[str, torch.Tensor], Weights]

# The writer of a layer, and the scheme that the report tells.
SCHEMES: dict[str, tuple[Layer, str]] = {
    "e4m3": (fp8(E4M3, "scale_weight"), "fp8 e4m3, one scale"),
    "e4m3-rows": (fp8(E4M3, "weight_scale", rows=True), "fp8 e4m3, a scale a row"),
    "e4m3-cast": (fp8(E4M3, None), "fp8 e4m3, no scale"),
    "e5m2": (fp8(E5M2, "weight_scale"), "fp8 e5m2, one scale"),
    "e5m2-cast": (fp8(E5M2, None), "fp8 e5m2, no scale"),
    "int8": (int8(rows=False), "int8, one scale"),
    "int8-rows": (int8(rows=True), "int8, a scale a row"),
    "bnb-int8": (bnb_int8, "int8, a scale a row"),
    "mxfp8": (mxfp8, "fp8 e4m3, a scale a block"),
    "mxfp4": (mxfp4, "mxfp4"),
    "nvfp4-comfy": (nvfp4(high_first=True, in_tiles=True), "nvfp4"),
    "nvfp4-modelopt": (nvfp4(high_first=False, in_tiles=False), "nvfp4"),
    "nvfp4-compressed": (nvfp4(False, False, compressed=True), "nvfp4"),
    "nf4": (nf4(nested=False), "nf4"),
    "nf4-nested": (nf4(nested=True), "nf4"),
}


# What a trained fine-tune may take of its own bytes in all, where scales are much of them.
SHARES = {"nvfp4-comfy": 0.45, "nvfp4-modelopt": 0.45, "nvfp4-compressed": 0.45}


def pieces(registry: Registry, ref: str, path: Path, file: bytes) -> None:
    """Ranges of the file, each read alone."""
    with registry.open_result(ref) as opened:
        for first, size in (
            (0, 9),
            (len(file) // 3, 1001),
            (len(file) - 77, 77),
            (len(file) // 2, 1),
        ):
            opened.seek(first)
            assert opened.read(size) == file[first : first + size]


@pytest.mark.parametrize("name", SCHEMES)
def test_fine_tune(name: str, registry: Registry, tuned_weights: Weights, tmp_path: Path) -> None:
    """A trained fine-tune, quantised: byte for byte, in far fewer bytes than raw."""
    layer, scheme = SCHEMES[name]
    tried = {n: layer(n, w) for n, w in tuned_weights.items() if is_quantised(n, w)}
    made = {n: tensors for n, tensors in tried.items() if tensors.get(n) is not tuned_weights[n]}
    assert len(made) >= 20
    tensors = {n: tensor for layer in made.values() for n, tensor in layer.items()}
    path = saved(tensors, tmp_path / f"{name}.safetensors")
    with one_thread():
        version = registry.add(path, base="base", lossless=True).version
        out = tmp_path / "out.safetensors"
        registry.materialize(version.ref, out)
    assert out.read_bytes() == path.read_bytes()
    pieces(registry, version.ref, path, path.read_bytes())
    report = registry.report(version.ref)
    assert report.schemes == {scheme: len(made)}
    assert version.stored_size < SHARES.get(name, 0.30) * path.stat().st_size


@pytest.mark.parametrize("name", ["e4m3", "int8-rows", "nvfp4-comfy", "nf4"])
def test_the_base_itself(
    name: str, registry: Registry, base_weights: Weights, tmp_path: Path
) -> None:
    """Hardly a code is left over of a model that was only quantised."""
    layer, _ = SCHEMES[name]
    path = saved(quantised(base_weights, layer), tmp_path / "base-only.safetensors")
    with one_thread():
        version = registry.add(path, base="base", lossless=True).version
    assert version.residual is not None
    assert version.residual.size < 0.01 * path.stat().st_size
    out = tmp_path / "out.safetensors"
    registry.materialize(version.ref, out)
    assert out.read_bytes() == path.read_bytes()


def test_scaled_e4m3_takes_a_fifth(
    registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """All bytes, container and residual, over those of the file."""
    layer = fp8(E4M3, "scale_weight")
    path = saved(quantised(tuned_weights, layer), tmp_path / "share.safetensors")
    with one_thread():
        version = registry.add(path, base="base", lossless=True).version
    assert version.stored_size < 0.20 * path.stat().st_size


def test_as_many_blocks_as_rows(tmp_path: Path) -> None:
    """Sixteen scales of sixteen rows are those of 4 x 4 blocks, if these fit the codes."""
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    blocks = weight.reshape(4, 4, 4, 16)
    scale = blocks.abs().amax((1, 3)) / torch.finfo(E4M3).max
    codes = (blocks / scale[:, None, :, None]).to(E4M3).reshape(16, 64)
    stored = {"layer.weight": codes, "layer.weight_scale_inv": scale}
    base = saved({"layer.weight": weight}, tmp_path / "base.safetensors")
    path = saved(stored, tmp_path / "blocks.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", base)
        ref = registry.add(path, base="base", lossless=True).ref
        registry.materialize(ref, tmp_path / "out.safetensors")
        assert registry.report(ref).schemes == {"fp8 e4m3, a scale a block": 1}
    assert (tmp_path / "out.safetensors").read_bytes() == path.read_bytes()


def test_base_is_found(registry: Registry, tuned_weights: Weights, tmp_path: Path) -> None:
    """Without being told, also for packed weights."""
    for name in ("e4m3", "nf4", "nvfp4-compressed"):
        path = saved(quantised(tuned_weights, SCHEMES[name][0]), tmp_path / f"b-{name}.safetensors")
        assert registry.best_base(path).sure() == "base"


def test_lossy_is_raw_with_a_hint(
    registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    layer = fp8(E4M3, "scale_weight")
    path = saved(quantised(tuned_weights, layer), tmp_path / "lossy.safetensors")
    with one_thread():
        ref = registry.add(path, base="base").ref
        registry.materialize(ref, tmp_path / "out.safetensors")
    report = registry.report(ref)
    assert report.schemes == {}
    assert any("--lossless" in warning for warning in report.warnings)


def test_no_lossy_result_of_a_lossless_version(
    registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """The container alone would be the base, quantised: asked for a tau, it is refused."""
    path = saved(quantised(tuned_weights, fp8(E4M3, None)), tmp_path / "tau.safetensors")
    with one_thread():
        version = registry.add(path, base="base", lossless=True).version
        stored = registry.report(version.ref).tau
        with pytest.raises(TauNotServed, match="quantised"):
            registry.materialize(version.ref, tmp_path / "out.safetensors", tau=stored)
        with pytest.raises(InvalidArgument, match="quantised weights"):
            registry.merge([(version.ref, 1.0)], name="merged")
        with pytest.raises(Conflict, match="lossless only"):
            registry.thin(version.ref)
    assert not (tmp_path / "out.safetensors").exists()


def test_unknown_schemes_are_named(
    registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """Codes that no rule makes, or makes of other weights, stay raw, and the report says which."""
    made = dict(tuned_weights)
    first, second, third = [n for n, w in made.items() if is_quantised(n, w)][:3]
    random = torch.Generator().manual_seed(1)
    shape = made[first].shape
    rotated = torch.randint(-127, 128, shape, generator=random, dtype=torch.int8)
    marker = torch.frombuffer(bytearray(json.dumps({"format": "x"}).encode()), dtype=torch.uint8)
    made[first] = rotated
    made[f"{first}_scale"] = torch.tensor(0.01)
    made[second] = made[second].to(torch.float8_e4m3fnuz)
    made[third] = torch.zeros(made[third].shape, dtype=torch.uint8)
    made[third.removesuffix("weight") + "comfy_quant"] = marker.clone()
    path = saved(made, tmp_path / "unknown.safetensors")
    with one_thread():
        ref = registry.add(path, base="base", lossless=True).ref
        registry.materialize(ref, tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == path.read_bytes()
    report = registry.report(ref)
    unknown = {t.name for t in report.tensors if t.reason and "scheme" in t.reason}
    assert unknown == {first, second, third}
    (warning,) = [one for one in report.warnings if "scheme" in one]
    assert all(name in warning for name in unknown)
