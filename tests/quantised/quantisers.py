"""Writers of quantised checkpoints, made from the public rules alone: nothing of the package is used."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import torch

Weights = dict[str, torch.Tensor]
FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
# Quantiles of a normal distribution, as QLoRA and bitsandbytes have them.
NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]


def is_quantised(name: str, weight: torch.Tensor) -> bool:
    """True for the weights that quantisers take: of layers, not of norms and biases."""
    return name.endswith(".weight") and weight.ndim >= 2 and weight.numel() >= 1024


def quantised(weights: Weights, layer: Callable[[str, torch.Tensor], Weights]) -> Weights:
    """All weights, those of layers by `layer`, which gives the tensors in place of one."""
    made: Weights = {}
    for name, weight in weights.items():
        made |= layer(name, weight) if is_quantised(name, weight) else {name: weight}
    return made


def _nearest(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """The index of the nearest of `grid`, which ascends; of two, that with the even index."""
    borders = (grid[1:].double() + grid[:-1].double()) / 2
    low = torch.searchsorted(borders, x.double(), right=False)
    high = torch.searchsorted(borders, x.double(), right=True)
    return torch.where(low % 2 == 0, low, high)


def fp8(kind: torch.dtype, scale_name: str | None, rows: bool = False) -> Callable[..., Weights]:
    """Scaled fp8: one scale, or one a row; without `scale_name` a plain cast."""

    def layer(name: str, weight: torch.Tensor) -> Weights:
        wide = weight.float()
        if scale_name is None:
            return {name: wide.to(kind)}
        size = wide.abs().reshape(len(wide), -1).amax(1) if rows else wide.abs().max()
        scale = size / torch.finfo(kind).max
        of = scale.reshape(-1, *[1] * (wide.ndim - 1)) if rows else scale
        stem = name.removesuffix("weight")
        stored = scale[:, None] if rows else scale
        return {name: (wide / of).to(kind), stem + scale_name: stored}

    return layer


def int8(rows: bool) -> Callable[..., Weights]:
    def layer(name: str, weight: torch.Tensor) -> Weights:
        wide = weight.float()
        size = wide.abs().reshape(len(wide), -1).amax(1) if rows else wide.abs().max()
        scale = size / 127
        of = scale.reshape(-1, *[1] * (wide.ndim - 1)) if rows else scale
        codes = torch.round(wide / of).clamp(-128, 127).to(torch.int8)
        return {name: codes, name + "_scale": scale[:, None] if rows else scale}

    return layer


def bnb_int8(name: str, weight: torch.Tensor) -> Weights:
    """LLM.int8(): the largest magnitude of each row beside, as SCB."""
    flat = weight.float().reshape(len(weight), -1)
    size = flat.abs().amax(1)
    codes = torch.round(flat * (127 / size)[:, None]).to(torch.int8).reshape(weight.shape)
    return {name: codes, name.removesuffix("weight") + "SCB": size}


def tiled(scales: torch.Tensor) -> torch.Tensor:
    """Scales in tiles of 128 by 4, padded, as tensor cores read them (NVIDIA's `to_blocked`)."""
    down, across = -(-scales.shape[0] // 128), -(-scales.shape[1] // 4)
    raw = torch.zeros(down * 128, across * 4, dtype=torch.uint8)
    raw[: scales.shape[0], : scales.shape[1]] = scales.view(torch.uint8)
    blocks = raw.reshape(down, 128, across, 4).permute(0, 2, 1, 3)
    flat = blocks.reshape(-1, 4, 32, 4).transpose(1, 2).reshape(-1, 32, 16)
    return flat.reshape(down * 128, across * 4).view(scales.dtype)


def _e2m1(x: torch.Tensor) -> torch.Tensor:
    codes = _nearest(x.abs().clamp(max=6.0), FP4)
    return (codes + 8 * torch.signbit(x)).to(torch.uint8)


def nvfp4(high_first: bool, in_tiles: bool, compressed: bool = False) -> Callable[..., Weights]:
    """NVFP4: e2m1, an e4m3 scale for each 16 weights, and one of fp32 for all."""

    def layer(name: str, weight: torch.Tensor) -> Weights:
        if weight.ndim != 2 or weight.shape[1] % 16:
            return {name: weight}
        wide = weight.float().reshape(len(weight), -1, 16)
        second = wide.abs().max() / (6 * 448)
        scale = (wide.abs().amax(2) / 6 / second).clamp(max=448).to(torch.float8_e4m3fn)
        of = (scale.float() * second)[..., None]
        codes = _e2m1(torch.where(of > 0, wide / of, 0)).reshape(len(weight), -1, 2)
        first, other = codes.unbind(-1)
        packed = (first << 4 | other) if high_first else (other << 4 | first)
        stem = name.removesuffix("weight")
        stored = tiled(scale) if in_tiles else scale
        if compressed:
            return {
                f"{stem}weight_packed": packed,
                f"{stem}weight_scale": stored,
                f"{stem}weight_global_scale": (1 / second).reshape(1),
            }
        return {name: packed, f"{stem}weight_scale": stored, f"{stem}weight_scale_2": second}

    return layer


def _e8m0(size: torch.Tensor, largest: float) -> torch.Tensor:
    exponent = torch.floor(torch.log2(size.double().clamp(min=1e-30))) - np.log2(largest) // 1
    return (exponent + 127).clamp(0, 254).to(torch.uint8)


def mxfp4(name: str, weight: torch.Tensor) -> Weights:
    """MXFP4: e2m1 and a power of two for each 32 weights."""
    if weight.ndim != 2 or weight.shape[1] % 32:
        return {name: weight}
    wide = weight.float().reshape(len(weight), -1, 32)
    scale = _e8m0(wide.abs().amax(2), 4.0)
    codes = _e2m1(wide / torch.exp2(scale.double() - 127)[..., None]).reshape(len(weight), -1, 2)
    first, other = codes.unbind(-1)
    stem = name.removesuffix("weight")
    return {f"{stem}weight_packed": other << 4 | first, f"{stem}weight_scale": scale}


def mxfp8(name: str, weight: torch.Tensor) -> Weights:
    """MXFP8 as ComfyUI has it: e4m3 and a power of two for each 32 weights, in tiles."""
    if weight.ndim != 2 or weight.shape[1] % 32 or weight.shape[1] == 32:
        return {name: weight}
    wide = weight.float().reshape(len(weight), -1, 32)
    scale = _e8m0(wide.abs().amax(2), 256.0)
    codes = (wide / torch.exp2(scale.double() - 127)[..., None]).clamp(-448, 448)
    stem = name.removesuffix("weight")
    return {
        name: codes.float().to(torch.float8_e4m3fn).reshape(weight.shape),
        f"{stem}weight_scale": tiled(scale),
    }


def nf4(nested: bool) -> Callable[..., Weights]:
    """bitsandbytes: the nearest of 16 values, by the largest magnitude of each 64 weights."""

    def layer(name: str, weight: torch.Tensor) -> Weights:
        if weight.numel() % 64:
            return {name: weight}
        flat = weight.float().reshape(-1, 64)
        absmax = flat.abs().amax(1)
        values = torch.tensor(NF4)
        borders = (values[1:] + values[:-1]) / 2
        codes = torch.searchsorted(borders, flat * (1 / absmax)[:, None]).to(torch.uint8)
        pairs = codes.reshape(-1, 2)
        state: dict[str, object] = {
            "quant_type": "nf4",
            "blocksize": 64,
            "dtype": "bfloat16",
            "shape": list(weight.shape),
        }
        made = {name: (pairs[:, :1] << 4) | pairs[:, 1:], f"{name}.quant_map": values}
        if nested:
            offset = absmax.mean()
            off = absmax - offset
            padded = torch.nn.functional.pad(off, (0, -len(off) % 256)).reshape(-1, 256)
            of = padded.abs().amax(1)
            table = torch.linspace(-1, 1, 256)
            index = _nearest((padded / of[:, None]).reshape(-1)[: len(off)], table)
            made |= {
                f"{name}.absmax": index.to(torch.uint8),
                f"{name}.nested_absmax": of,
                f"{name}.nested_quant_map": table,
            }
            state |= {
                "nested_blocksize": 256,
                "nested_dtype": "float32",
                "nested_offset": float(offset),
            }
        else:
            made[f"{name}.absmax"] = absmax
        data = json.dumps(state).encode()
        stored = torch.frombuffer(bytearray(data), dtype=torch.uint8).clone()
        return made | {f"{name}.quant_state.bitsandbytes__nf4": stored}

    return layer
