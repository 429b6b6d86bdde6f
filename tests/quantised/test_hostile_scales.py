"""Scales that are none: the file comes back to the byte all the same, predicted or raw."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from trained_pair import one_thread

from dsvd_registry import Registry

from .conftest import Weights, saved
from .quantisers import fp8, is_quantised, nf4, nvfp4

E4M3 = torch.float8_e4m3fn


def kept(registry: Registry, tensors: Weights, folder: Path) -> dict[str, str]:
    """Add the tensors lossless, compare what comes back, and return the kind of each record."""
    path = saved(tensors, folder / f"hostile-{len(list(folder.iterdir()))}.safetensors")
    with one_thread():
        ref = registry.add(path, base="base", lossless=True).ref
        registry.materialize(ref, folder / "out.safetensors", replace=True)
    assert (folder / "out.safetensors").read_bytes() == path.read_bytes()
    return {row.name: row.kind for row in registry.report(ref).tensors}


def layer_of(weights: Weights) -> tuple[str, torch.Tensor]:
    """The largest matrix."""
    found = [(n, w) for n, w in weights.items() if is_quantised(n, w) and w.ndim == 2]
    return max(found, key=lambda one: one[1].numel())


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e-42, 1e-45, 3e38])
def test_scale_of_all(
    scale: float, registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """A scale that no weight can be divided by, with codes of another one; signs may still be told."""
    name, weight = layer_of(tuned_weights)
    made = fp8(E4M3, "weight_scale")(name, weight)
    made[name.removesuffix("weight") + "weight_scale"] = torch.tensor(scale)
    kept(registry, made, tmp_path)


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf, 1e-42])
def test_some_rows(
    scale: float, registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """Rows whose scale is none, among others that are predicted."""
    name, weight = layer_of(tuned_weights)
    made = fp8(E4M3, "weight_scale", rows=True)(name, weight)
    made[name.removesuffix("weight") + "weight_scale"][::8] = scale
    assert kept(registry, made, tmp_path)[name] == "quantised"


def test_shapes_and_dtypes(registry: Registry, tuned_weights: Weights, tmp_path: Path) -> None:
    """Scales of a number, a shape or a dtype that fits no rule; none at all."""
    name, weight = layer_of(tuned_weights)
    made = fp8(E4M3, "weight_scale", rows=True)(name, weight)
    scale = name.removesuffix("weight") + "weight_scale"
    rows = made[scale]
    for other in (rows[:-1], torch.cat([rows, rows[:1]]), rows.to(torch.int32), rows[:0]):
        assert kept(registry, {**made, scale: other}, tmp_path)[name] == "raw"
    other_dtype = {**made, scale: rows.to(torch.bfloat16)}
    assert kept(registry, other_dtype, tmp_path)[name] == "quantised"
    codes = torch.randint(0, 256, weight.shape, dtype=torch.uint8).view(E4M3)
    assert kept(registry, {name: codes}, tmp_path)[name] == "raw"


def test_all_codes_are_no_numbers(
    registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """NaNs of e4m3 among the codes, and both zeros."""
    name, weight = layer_of(tuned_weights)
    made = fp8(E4M3, "weight_scale")(name, weight)
    flat = made[name].view(torch.uint8).reshape(-1)
    flat[:64:2], flat[1:65:4], flat[3:67:4] = 0x7F, 0xFF, 0x80
    assert kept(registry, made, tmp_path)[name] == "quantised"


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [1, 1]},
        {"shape": []},
        {"shape": [2**40, 2**40]},
        {"shape": "wide"},
        {"shape": [-4, 8]},
        {"blocksize": 0},
        {"blocksize": 2**70},
        {"blocksize": 1.5},
        {"nested_blocksize": 0},
        {"nested_blocksize": True},
        {"nested_offset": "0"},
        {"nested_offset": math.nan},
        {"nested_offset": -1.0},
    ],
    ids=str,
)
def test_state_of_bitsandbytes(
    changed: dict[str, object], registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    """A JSON state that says what cannot be."""
    name, weight = layer_of(tuned_weights)
    made = nf4(nested=True)(name, weight)
    key = f"{name}.quant_state.bitsandbytes__nf4"
    state = json.loads(bytes(made[key].tolist())) | changed
    made[key] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    made["beside.weight"] = weight
    small = {n: w for n, w in tuned_weights.items() if n != name and is_quantised(n, w)}
    beside = sorted(small)[0]
    made.pop("beside.weight")
    made[beside] = small[beside]  # so that there is something that the base has
    assert kept(registry, made, tmp_path)[name] == "raw"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"[" * 5000, b"\xff\xfe"], ids=repr)
def test_state_that_is_no_json(
    data: bytes, registry: Registry, tuned_weights: Weights, tmp_path: Path
) -> None:
    name, weight = layer_of(tuned_weights)
    made = nf4(nested=False)(name, weight)
    made[f"{name}.quant_state.bitsandbytes__nf4"] = torch.tensor(list(data), dtype=torch.uint8)
    small = {n: w for n, w in tuned_weights.items() if n != name and is_quantised(n, w)}
    beside = sorted(small)[0]
    made[beside] = small[beside]
    assert kept(registry, made, tmp_path)[name] == "raw"


def test_map_that_falls(registry: Registry, tuned_weights: Weights, tmp_path: Path) -> None:
    name, weight = layer_of(tuned_weights)
    made = nf4(nested=False)(name, weight)
    made[f"{name}.quant_map"] = made[f"{name}.quant_map"].flip(0)
    assert kept(registry, made, tmp_path)[name] == "raw"


def test_blocks_of_zeros(registry: Registry, tuned_weights: Weights, tmp_path: Path) -> None:
    """NVFP4 whose scale is 0 where all weights of a block are."""
    name, weight = layer_of(tuned_weights)
    changed = weight.clone()
    changed[: len(weight) // 2, :32] = 0
    made = nvfp4(high_first=True, in_tiles=True)(name, changed)
    assert kept(registry, made, tmp_path)[name] == "quantised"
