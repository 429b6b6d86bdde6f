"""A base and a container of a trained pair with every tensor added that might go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from trained_pair import Weights, trained_pair

from dsvd_registry import Registry
from dsvd_registry.store import ObjectStore, registry_folder

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
TAU = 0.95


@dataclass(frozen=True)
class Golden:
    """Two files, and the SHA-256 that the container records for its result."""

    base: Path
    container: Path
    sha256: str


def make_golden(place: Path) -> Golden:
    """Through the registry, as a user does."""
    base, tuned = trained_pair()
    for name, (before, after) in {**awkward_layers(), **awkward_weights(), **casts()}.items():
        base[name], tuned[name] = before, after
    tuned["new"] = noise(20, 30, seed=7)
    save(base, place / "base.safetensors")
    save(tuned, place / "tuned.safetensors")
    with Registry.init(place / "registry") as registry:
        registry.add_base("golden", place / "base.safetensors")
        added = registry.add(
            place / "tuned.safetensors", base="golden", name="tuned", tau=TAU
        ).version
        result = registry.materialize("tuned", place / "result.safetensors")
    container = ObjectStore(registry_folder.open(place / "registry")).local_file(added.container)
    return Golden(place / "base.safetensors", container, result.sha256)


def save(weights: Weights, path: Path) -> None:
    save_file(
        {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in weights.items()
        },
        path,
    )


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def falling(rows: int, columns: int, values: torch.Tensor) -> torch.Tensor:
    """A matrix of about these singular values."""
    left = torch.linalg.qr(noise(rows, len(values))).Q
    return (left * values) @ torch.linalg.qr(noise(columns, len(values), seed=1)).Q.T


def awkward_layers() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Ranks small and large; products that fit fp32 and that do not; sides of different dtypes."""
    base = 0.05 * noise(320, 480, seed=2)
    slow = 0.05 * falling(320, 480, torch.arange(1.0, 321) ** -1.5)
    uneven = slow * noise(320, 1, seed=5).exp() * noise(1, 480, seed=6).exp()
    one = noise(320, 1, seed=3) @ noise(1, 480, seed=4) * 1e-3
    return {
        "layer.large_rank": (base, base + slow),
        "layer.uneven": (base, base + uneven),
        "layer.rank_one": (base, base + one),
        "layer.f16_on_f32": (base, (base + slow).to(F16)),
        "layer.bf16_on_f32": (base, (base + slow).to(BF16)),
        "layer.f32_on_bf16": (base.to(BF16), base + slow),
        "layer.f16_on_bf16": (base.to(BF16), (base + slow).to(F16)),
    }


def pattern(rows: int, columns: int) -> torch.Tensor:
    """Of rank one, with many zeros of both signs behind them."""
    signs = torch.arange(rows) % 5 - 2
    return torch.outer(signs, (torch.arange(columns) % 4) % 3 - 1).to(F32)


def subnormal(rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
    """The smallest numbers of a dtype, of both signs."""
    width = torch.int16 if dtype.itemsize == 2 else torch.int32
    numbers = torch.arange(1, rows * columns + 1, dtype=torch.int32) % 1000
    signs = 1 - 2 * (numbers % 2).to(dtype)
    return (numbers.to(width).view(dtype) * signs).reshape(rows, columns)


def awkward_weights() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """-0.0, subnormal numbers, and numbers near overflow, of each dtype; shared by two threads."""
    rows, columns = 256, 384
    step = pattern(rows, columns)
    found = {}
    for dtype, least, ulp in (
        (F32, 2.0**-120, 1.0),
        (F16, 2.0**-20, 32),
        (BF16, 2.0**-120, 2.0**120),
    ):
        name = str(dtype).removeprefix("torch.")
        small = subnormal(rows, columns, dtype)
        found[f"subnormal.{name}"] = (small, small + (step * least).to(dtype))
        found[f"subnormal.vector.{name}"] = (
            small.flatten(),
            small.flatten() + (noise(rows * columns) * 64 * least).to(dtype),
        )
        zeros = torch.full((rows, columns), -0.0, dtype=dtype)
        found[f"zeros.{name}"] = (zeros, zeros + (step * 0.25).to(dtype))
        if dtype != F32:
            high = torch.finfo(dtype).max * (1 - 0.4 * noise(rows, columns).abs().clamp_max(1))
            high[:, ::2] *= -1
            high[::9] = torch.finfo(dtype).max * high[:1].sign()
            down = high.sign() * step.abs() * (torch.arange(rows) < 16)[:, None] * ulp
            found[f"overflow.{name}"] = (high.to(dtype), (high.to(dtype) - down).to(dtype))
    return found


def casts() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Subnormal numbers that the fine-tune has in another dtype, and nothing else changed."""
    found = {}
    for one in (F32, F16, BF16):
        for other in {F32, F16, BF16} - {one}:
            small = torch.cat([subnormal(70, 600, one), 2.0**-18 * noise(70, 600).to(one)])
            found[f"cast.{one}.{other}"] = (small, small.to(other))
    return found
