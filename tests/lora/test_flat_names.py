"""LoRAs with underscores for dots, on bases of unknown families: Wan, Qwen-Image, Z-Image.

The base's own names give the positions of the dots, whatever prefix its file has.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from layouts.original import State

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch, CheckpointError

from .small import registry_of, weights
from .training import save

Shapes = dict[str, tuple[int, ...]]

WAN: Shapes = {
    "patch_embedding.weight": (12, 4, 1, 2, 2),
    "blocks.0.self_attn.q.weight": (12, 14),
    "blocks.0.self_attn.q.bias": (12,),
    "blocks.0.self_attn.norm_q.weight": (12,),
    "blocks.0.cross_attn.k_img.weight": (10, 12),
    "blocks.0.ffn.0.weight": (20, 12),
    "blocks.0.modulation": (1, 6, 12),
    "head.head.weight": (8, 12),
    "head.modulation": (1, 2, 12),
}
QWEN: Shapes = {
    "img_in.weight": (12, 8),
    "time_text_embed.timestep_embedder.linear_1.weight": (12, 10),
    "transformer_blocks.0.attn.to_out.0.weight": (12, 14),
    "transformer_blocks.0.attn.add_q_proj.weight": (14, 12),
    "transformer_blocks.0.img_mod.1.weight": (72, 12),
    "transformer_blocks.0.txt_mlp.net.0.proj.weight": (20, 12),
}
Z_IMAGE: Shapes = {
    "all_x_embedder.2-1.weight": (12, 8),
    "cap_embedder.1.weight": (12, 10),
    "context_refiner.0.attention.qkv.weight": (36, 12),
    "layers.0.attention.to_q.weight": (14, 12),
    "layers.0.feed_forward.w1.weight": (20, 12),
    "layers.0.adaLN_modulation.0.weight": (48, 6),
}
MODELS = {"Wan": WAN, "Qwen-Image": QWEN, "Z-Image": Z_IMAGE}
PREFIXES = ["", "model.diffusion_model.", "diffusion_model.", "transformer.", "model.", "net."]


def base_of(shapes: Shapes, prefix: str) -> State:
    numbers = torch.Generator().manual_seed(3)
    return {f"{prefix}{n}": 0.05 * torch.randn(s, generator=numbers) for n, s in shapes.items()}


def pair(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    ones = (1,) * (len(shape) - 2)
    up = 0.1 * torch.randn(shape[0], 2, *ones, generator=numbers)
    return up, 0.1 * torch.randn(2, *shape[1:], generator=numbers)


def lora_of(
    shapes: Shapes, spell: str, *, dots: bool = False
) -> tuple[State, dict[str, np.ndarray]]:
    """A LoRA of every weight of two or more dimensions, and the change that it makes to each."""
    lora: State = {}
    change = {}
    for number, (name, shape) in enumerate(shapes.items()):
        layer, _, parameter = name.rpartition(".")
        if parameter != "weight" or len(shape) < 2:
            continue
        up, down = pair(shape, seed=number)
        spelled = spell + (layer if dots else layer.replace(".", "_"))
        lora[f"{spelled}.lora_up.weight"], lora[f"{spelled}.lora_down.weight"] = up, down
        lora[f"{spelled}.alpha"] = torch.tensor(3.0)
        product = up.double().numpy().reshape(shape[0], 2) @ down.double().numpy().reshape(2, -1)
        change[name] = (1.5 * product).reshape(shape)
    return lora, change


def check(registry: Registry, base: State, prefix: str, change: dict[str, np.ndarray]) -> None:
    result = weights(registry, "lora")
    assert result.keys() == base.keys()
    assert change
    for name, before in base.items():
        after = result[name].double().numpy()
        added = change.get(name.removeprefix(prefix))
        if added is None:
            assert np.array_equal(after, before.double().numpy()), name
            continue
        error = 1e-5 if min(added.shape) > 1 else 1e-2
        exact = before.double().numpy() + added
        off = np.linalg.norm(after - exact)
        assert off <= error * np.linalg.norm(added) + 2**-23 * np.linalg.norm(exact), name


SPELLINGS = ["lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_", "diffusion_model."]


@pytest.mark.parametrize(
    ("model", "prefix", "spell"),
    [
        *((model, prefix, "lora_unet_") for model in MODELS for prefix in PREFIXES),
        *(("Wan", prefix, spell) for prefix in PREFIXES[:3] for spell in SPELLINGS[1:]),
    ],
)
def test_every_layer_is_found(model: str, prefix: str, spell: str, tmp_path: Path) -> None:
    """The last of the spellings has dots: a prefix of the base is found with both."""
    base = base_of(MODELS[model], prefix)
    lora, change = lora_of(MODELS[model], spell, dots=spell.endswith("."))
    with registry_of(tmp_path, base) as registry:
        added = registry.add(save(lora, tmp_path / "lora.safetensors"), base="sd15")
        assert registry.report(added.ref).left_out == ()
        check(registry, base, prefix, change)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("spell", "modulation"),
    [
        ("diffusion_model.", ".diff_m"),
        ("diffusion_model.", ".modulation.diff"),
        ("lora_unet_", ".diff_m"),
    ],
)
def test_full_differences_of_wan(spell: str, modulation: str, prefix: str, tmp_path: Path) -> None:
    """LightX2V changes weights, biases, and the modulation, which is no layer's weight."""
    base = base_of(WAN, prefix)
    ends = {
        "blocks.0.modulation": f"blocks.0{modulation}",
        "head.modulation": f"head{modulation}",
        "blocks.0.self_attn.q.bias": "blocks.0.self_attn.q.diff_b",
        "blocks.0.self_attn.norm_q.weight": "blocks.0.self_attn.norm_q.diff",
        "head.head.weight": "head.head.diff",
    }
    lora, change = lora_of(
        {n: s for n, s in WAN.items() if "ffn" in n}, spell, dots=spell[-1] == "."
    )
    numbers = torch.Generator().manual_seed(4)
    for name, spelled in ends.items():
        difference = 0.02 * torch.randn(WAN[name], generator=numbers)
        if spell[-1] == "_":
            end = modulation if spelled.endswith(modulation) else f".{spelled.rpartition('.')[2]}"
            spelled = spelled.removesuffix(end).replace(".", "_") + end
        lora[spell + spelled] = difference
        change[name] = difference.double().numpy()
    with registry_of(tmp_path, base) as registry:
        added = registry.add(save(lora, tmp_path / "lora.safetensors"), base="sd15")
        assert registry.report(added.ref).left_out == ()
        result = weights(registry, "lora")
    for name, before in base.items():
        added_to = change.get(name.removeprefix(prefix), np.zeros(before.shape))
        off = np.linalg.norm(result[name].double().numpy() - before.double().numpy() - added_to)
        # What is no pair is a delta as of a fine-tune: a dense one keeps a relative error of 1 %.
        assert off <= 1e-2 * np.linalg.norm(added_to) + 2**-23 * float(before.norm()), name


AMBIGUOUS: dict[str, Shapes] = {
    "by its dots": {"blocks.0.to_out.weight": (12, 14), "blocks.0.to.out.weight": (12, 14)},
    "by its prefix": {
        "blocks.0.to_out.weight": (12, 14),
        "diffusion_model.blocks.0.to_out.weight": (12, 14),
    },
    "in a sub-model": {
        "transformer.blocks.0.to_out.weight": (12, 14),
        "transformer.blocks.0.to.out.weight": (12, 14),
    },
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_name_that_could_be_two_layers(kind: str, tmp_path: Path) -> None:
    base = base_of(
        {**AMBIGUOUS[kind], "last.weight": (6, 5), "transformer.last.weight": (6, 5)}, ""
    )
    del base["last.weight" if kind == "in a sub-model" else "transformer.last.weight"]
    lora, _ = lora_of({"blocks.0.to_out.weight": (12, 14), "last.weight": (6, 5)}, "lora_unet_")
    file = save(lora, tmp_path / "lora.safetensors")
    with registry_of(tmp_path, base) as registry:
        said = "3 times several layers of the base could be meant by that name"
        with pytest.raises(CheckpointError, match=said) as caught:
            registry.add(file, base="sd15")
        assert "'lora_unet_blocks_0_to_out.lora_up.weight'" in str(caught.value)
        added = registry.add(file, base="sd15", name="lora", skip_unsupported=True)
        assert len(registry.report(added.ref).left_out) == 3
        result = weights(registry, "lora")
    changed = {name for name, t in result.items() if not torch.equal(t, base[name])}
    assert len(changed) == 1
    assert changed.pop().endswith("last.weight")


def test_a_layer_that_there_is_not(tmp_path: Path) -> None:
    lora, _ = lora_of({"blocks.9.self_attn.q.weight": (12, 14)}, "lora_unet_")
    base, said = base_of(WAN, "model.diffusion_model."), "3 times the base has no such layer"
    with registry_of(tmp_path, base) as registry, pytest.raises(BaseMismatch, match=said):
        registry.add(save(lora, tmp_path / "lora.safetensors"), base="sd15")


def test_a_qwen_image_base_takes_no_lora_of_flux(tmp_path: Path) -> None:
    """Their blocks have the same width, and in diffusers some names in common."""
    base = base_of(
        {f"transformer_blocks.0.attn.{name}.weight": (12, 12) for name in ("to_q", "to_k", "to_v")},
        "transformer.",
    )
    lora, _ = lora_of({"double_blocks.0.img_attn.qkv.weight": (36, 12)}, "lora_unet_")
    said = "3 times the base has no such layer"
    with registry_of(tmp_path, base) as registry, pytest.raises(BaseMismatch, match=said):
        registry.add(save(lora, tmp_path / "lora.safetensors"), base="sd15")
