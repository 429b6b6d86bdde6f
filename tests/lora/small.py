"""A base of a few layers of Stable Diffusion 1, and handmade LoRA files for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from layouts.original import State

from dsvd_registry import Registry
from dsvd_registry.codec.exact_product import DeltaProduct
from dsvd_registry.container.delta_decoder import decoded_delta
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord

BLOCK = "down_blocks.0.attentions.0"
ATTENTION = f"{BLOCK}.transformer_blocks.0"
TEXT = "text_model.encoder.layers.0"

# Layers by sub-model. In each dimension another length, so that nothing fits by chance.
LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "unet": {
        "conv_in": (8, 4, 3, 3),
        "time_embedding.linear_1": (20, 8),
        "down_blocks.0.resnets.0.conv1": (8, 10, 3, 3),
        f"{BLOCK}.proj_in": (14, 8, 1, 1),
        f"{ATTENTION}.attn1.to_q": (16, 14),
        f"{ATTENTION}.attn1.to_out.0": (14, 16),
        f"{ATTENTION}.attn2.to_k": (16, 12),
        "conv_out": (4, 8, 3, 3),
    },
    "text_encoder": {f"{TEXT}.self_attn.q_proj": (12, 12), f"{TEXT}.mlp.fc1": (24, 12)},
}
NORMS = {f"unet.{ATTENTION}.norm1": 14, f"text_encoder.{TEXT}.layer_norm1": 12}
RANKS = (2, 3, 1, 4)


@dataclass(frozen=True)
class Pair:
    """A layer of a LoRA: up (out, r), down (r, in ...), and the scale of their product."""

    up: torch.Tensor
    down: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def alpha(self) -> float:
        return self.scale * self.rank

    @property
    def product(self) -> torch.Tensor:
        """The product of a pair as a float64 matrix."""
        return self.scale * (self.up.double().flatten(1) @ self.down.double().flatten(1))


Layers = Mapping[tuple[str, str], Pair]
"""By sub-model and path."""


def base_weights(dtype: torch.dtype = torch.float32) -> State:
    numbers = torch.Generator().manual_seed(1)
    found = {}
    for model, layers in LAYERS.items():
        for path, shape in layers.items():
            found[f"{model}.{path}.weight"] = 0.05 * torch.randn(shape, generator=numbers)
            found[f"{model}.{path}.bias"] = 0.05 * torch.randn(shape[0], generator=numbers)
    for name, length in NORMS.items():
        found[f"{name}.weight"] = 1 + 0.05 * torch.randn(length, generator=numbers)
        found[f"{name}.bias"] = 0.05 * torch.randn(length, generator=numbers)
    found["vae.encoder.conv_in.weight"] = torch.randn(4, 3, 3, 3, generator=numbers)
    return {name: tensor.to(dtype) for name, tensor in found.items()}


def pairs(dtype: torch.dtype = torch.float32, *, scale: float | None = None) -> Layers:
    """A pair for every layer, of mixed ranks and alphas. `scale`: the same for all."""
    numbers = torch.Generator().manual_seed(2)
    found = {}
    for model, layers in LAYERS.items():
        for path, (rows, columns, *kernel) in layers.items():
            rank = RANKS[len(found) % len(RANKS)]
            up = 0.1 * torch.randn(rows, rank, *(1 for _ in kernel), generator=numbers)
            down = 0.1 * torch.randn(rank, columns, *kernel, generator=numbers)
            own = (1 + len(found)) / 8 if scale is None else scale
            found[model, path] = Pair(up.to(dtype), down.to(dtype), own)
    return found


def kohya_name(model: str, path: str) -> str:
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[model]
    return prefix + path.replace(".", "_")


def kohya(layers: Layers, *, alpha: bool = True) -> State:
    found = {}
    for (model, path), pair in layers.items():
        name = kohya_name(model, path)
        found[f"{name}.lora_up.weight"] = pair.up
        found[f"{name}.lora_down.weight"] = pair.down
        if alpha:
            found[f"{name}.alpha"] = torch.tensor(pair.alpha)
    return found


def peft(layers: Layers, prefix: str = "{}.") -> State:
    """The file of PEFT. `prefix`: of the sub-model's name."""
    found = {}
    for (model, path), pair in layers.items():
        found[f"{prefix.format(model)}{path}.lora_A.weight"] = pair.down
        found[f"{prefix.format(model)}{path}.lora_B.weight"] = pair.up
    return found


def exact(base: State, layers: Layers) -> State:
    """The base with the LoRA merged, in float64."""
    found = {name: tensor.double() for name, tensor in base.items()}
    for (model, path), pair in layers.items():
        name = f"{model}.{path}.weight"
        found[name] = found[name] + pair.product.reshape(found[name].shape)
    return found


def weights(registry: Registry, ref: str) -> State:
    with registry.tensors(ref) as tensors:
        return dict(tensors)


def stored_products(registry: Registry, ref: str) -> State:
    """The float64 products that a container adds to each tensor, from its integers alone."""
    version = registry.version(ref)
    found = {}
    path = registry.folder / "objects" / version.container[:2] / version.container
    with Container(path) as container:
        for index, record in enumerate(container.header.tensors):
            if isinstance(record, LowRankRecord):
                product = DeltaProduct(decoded_delta(container, index))
                tile = product.tile(0, product.rows)
                found[record.name] = torch.from_numpy(tile).double()
    return found


def check_products(registry: Registry, ref: str, layers: Layers, error: float = 1e-5) -> None:
    """Check that the stored delta of every layer, and of no other tensor, is its factors' product."""
    stored = stored_products(registry, ref)
    assert stored.keys() == {f"{model}.{path}.weight" for model, path in layers}
    for (model, path), pair in layers.items():
        off = stored[f"{model}.{path}.weight"] - pair.product
        assert float(off.norm()) <= error * float(pair.product.norm()), path


def check_result(registry: Registry, ref: str, base: State, layers: Layers) -> None:
    """Check that the result is base + scale up down, in float64 and rounded, up to the grid's error."""
    result, sums = weights(registry, ref), exact(base, layers)
    assert {name: (t.dtype, t.shape) for name, t in result.items()} == {
        name: (t.dtype, t.shape) for name, t in base.items()
    }
    for name, tensor in result.items():
        rounded = sums[name].float().to(tensor.dtype).double()
        grid = 1e-5 * float((sums[name] - base[name].double()).norm())
        # An element that the grid moves over a tie of the rounding is one step of its dtype off.
        step = torch.finfo(tensor.dtype).eps * sums[name].abs()
        off = (tensor.double() - rounded).abs()
        assert bool((off <= grid + (step if grid else 0)).all()), name
        if grid and tensor.dtype != torch.float32:
            assert float((off > 0).double().mean()) < 0.05, name


def registry_of(path: Path, base: State) -> Registry:
    """A new registry with the base `sd15`."""
    from safetensors.torch import save_file

    save_file(base, path / "base.safetensors")
    registry = Registry.init(path / "registry")
    registry.add_base("sd15", path / "base.safetensors")
    return registry
