"""LoRAs of FLUX and SD 3, on bases in diffusers' layout and in the original one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import (
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from layouts.original import State
from layouts.transformers import KINDS, state_of
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from dsvd_registry.lora.layer_place import LayerRows
from dsvd_registry.lora.transformer_words import diffusers_words, original_words

from .small import registry_of, weights
from .training import save

Shapes = dict[str, tuple[int, ...]]

CONVERSIONS = {
    "flux": convert_flux_transformer_checkpoint_to_diffusers,
    "sd3": convert_sd3_transformer_checkpoint_to_diffusers,
}


def linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def original_flux(width: int, blocks: int = 2) -> Shapes:
    found: Shapes = linear("img_in", width, 64) | linear("txt_in", width, 40)
    for name in ("time_in", "vector_in", "guidance_in"):
        found |= linear(f"{name}.in_layer", width, 32) | linear(f"{name}.out_layer", width, width)
    for number in range(blocks):
        block = f"double_blocks.{number}"
        for side in ("img", "txt"):
            found |= linear(f"{block}.{side}_mod.lin", 6 * width, width)
            found |= linear(f"{block}.{side}_attn.qkv", 3 * width, width)
            found |= linear(f"{block}.{side}_attn.proj", width, width)
            found |= linear(f"{block}.{side}_mlp.0", 4 * width, width)
            found |= linear(f"{block}.{side}_mlp.2", width, 4 * width)
            for norm in ("query_norm", "key_norm"):
                found[f"{block}.{side}_attn.norm.{norm}.scale"] = (8,)
        block = f"single_blocks.{number}"
        found |= linear(f"{block}.modulation.lin", 3 * width, width)
        found |= linear(f"{block}.linear1", 7 * width, width)
        found |= linear(f"{block}.linear2", width, 5 * width)
        for norm in ("query_norm", "key_norm"):
            found[f"{block}.norm.{norm}.scale"] = (8,)
    last = linear("final_layer.linear", 64, width)
    return found | last | linear("final_layer.adaLN_modulation.1", 2 * width, width)


def original_sd3(width: int, blocks: int = 2) -> Shapes:
    found: Shapes = {"pos_embed": (1, 4, width), **linear("x_embedder.proj", width, 16)}
    found |= linear("context_embedder", width, 40)
    for name in ("t_embedder", "y_embedder"):
        found |= linear(f"{name}.mlp.0", width, 32) | linear(f"{name}.mlp.2", width, width)
    for number in range(blocks):
        whole = number < blocks - 1  # the last block has no use for the text after its attention
        for side in ("x_block", "context_block"):
            block = f"joint_blocks.{number}.{side}"
            found |= linear(f"{block}.attn.qkv", 3 * width, width)
            both = whole or side == "x_block"
            found |= linear(f"{block}.adaLN_modulation.1", (6 if both else 2) * width, width)
            if both:
                found |= linear(f"{block}.attn.proj", width, width)
                found |= linear(f"{block}.mlp.fc1", 4 * width, width)
                found |= linear(f"{block}.mlp.fc2", width, 4 * width)
            if whole and side == "x_block":
                found |= linear(f"{block}.attn2.qkv", 3 * width, width)
                found |= linear(f"{block}.attn2.proj", width, width)
    last = linear("final_layer.linear", 64, width)
    return found | last | linear("final_layer.adaLN_modulation.1", 2 * width, width)


ORIGINAL = {"flux": original_flux, "sd3": original_sd3}


def taken(pieces: tuple[LayerRows, ...], tensors: State) -> torch.Tensor:
    """The layer whose rows these are, made of the tensors that hold them."""
    parts = []
    for piece in pieces:
        assert piece.base.view.kind in ("reshape", "slice")
        view, part = piece.base.view, piece.rows
        whole = tensors[piece.tensor]
        rows = whole[view.first : view.first + view.rows] if view.kind == "slice" else whole
        parts.append((part.first, rows))
        assert part.kind == "reshape" or part.rows == len(rows)
    return torch.cat([rows for _, rows in sorted(parts, key=lambda one: one[0])])


@pytest.mark.parametrize("family", ORIGINAL)
def test_the_names_are_those_of_diffusers(family: str) -> None:
    """Each row of a full-width transformer has a number of its own; both directions are compared."""
    shapes = ORIGINAL[family](3072)
    rows, start = {}, 0.0
    for name, shape in shapes.items():
        rows[name] = torch.arange(start, start + shape[0], dtype=torch.float64)
        start += shape[0]
    converted = CONVERSIONS[family](dict(rows))
    words = diffusers_words(shapes)
    of_attention = {name: words.pop(name) for name in list(words) if "linear1_qkv" in name}
    for theirs, pieces in words.items():
        assert torch.equal(converted[theirs], taken(pieces, rows)), theirs
    for name, pieces in of_attention.items():
        assert torch.equal(rows[name.replace("_qkv", "")][: 3 * 3072], taken(pieces, rows))
    unnamed = {
        name.removesuffix(".weight").removesuffix(".bias")
        for name in converted.keys() - words.keys()
    }
    norms = {name for name in unnamed if ".norm_" in name}  # these have no LoRA
    assert unnamed - norms == ({"pos_embed.pos_embed"} if family == "sd3" else set())

    widths = {name: (len(tensor), 3072) for name, tensor in converted.items()}
    back = original_words(widths)
    assert of_attention.keys() == {name for name in back if "linear1_qkv" in name}
    for name in of_attention:
        pieces = back.pop(name)
        assert torch.equal(rows[name.replace("_qkv", "")][: 3 * 3072], taken(pieces, converted))
    for ours, pieces in back.items():
        assert torch.equal(rows[ours], taken(pieces, converted)), ours
    unnamed = {name for name in rows.keys() - back.keys() if "_norm." not in name}
    assert unnamed == ({"pos_embed"} if family == "sd3" else set())


@pytest.mark.parametrize("kind", ["wan-i2v", "z-image"])
def test_the_names_of_other_families(kind: str) -> None:
    state = state_of(kind)
    original = KINDS[kind].original(state)
    words = diffusers_words({name: tuple(tensor.shape) for name, tensor in original.items()})
    assert {name for name in state if ".to_q." in name} <= words.keys() <= state.keys()
    for theirs, pieces in words.items():
        assert torch.equal(state[theirs], taken(pieces, original)), theirs
    back = original_words({name: tuple(tensor.shape) for name, tensor in state.items()})
    assert back.keys() == {name for name in original if name in back}
    for ours, pieces in back.items():
        assert torch.equal(original[ours], taken(pieces, state)), ours
    assert any(len(pieces) == 3 for pieces in back.values()) == (kind == "z-image")


def random_base(shapes: Shapes, prefix: str) -> State:
    numbers = torch.Generator().manual_seed(8)
    return {f"{prefix}{n}": 0.05 * torch.randn(s, generator=numbers) for n, s in shapes.items()}


def factors(rows: int, columns: int, rank: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(rows + columns)
    up = 0.1 * torch.randn(rows, rank, generator=numbers)
    return up, 0.1 * torch.randn(rank, columns, generator=numbers)


WIDTH = 24
# The original tensor, its rows (first, count), and by which layers of a LoRA these are changed.
SPELLED = {
    "flux": {
        ("double_blocks.0.img_attn.qkv", 0, 3 * WIDTH): (
            "lora_unet_double_blocks_0_img_attn_qkv",
            "diffusion_model.double_blocks.0.img_attn.qkv",
        ),
        ("single_blocks.1.linear2", 0, WIDTH): (
            "lora_unet_single_blocks_1_linear2",
            "transformer.single_transformer_blocks.1.proj_out",
        ),
        ("double_blocks.1.img_attn.qkv", 2 * WIDTH, WIDTH): (
            "transformer.transformer_blocks.1.attn.to_v",
            "lora_transformer_transformer_blocks_1_attn_to_v",
        ),
        ("double_blocks.1.txt_attn.proj", 0, WIDTH): (
            "lora_unet_double_blocks_1_txt_attn_proj",
            "transformer.transformer_blocks.1.attn.to_add_out",
        ),
        ("single_blocks.0.linear1", 3 * WIDTH, 4 * WIDTH): (
            "transformer.single_transformer_blocks.0.proj_mlp",
            "lora_transformer_single_transformer_blocks_0_proj_mlp",
        ),
    },
    "sd3": {
        ("joint_blocks.0.x_block.attn.qkv", 0, 3 * WIDTH): (
            "lora_unet_joint_blocks_0_x_block_attn_qkv",
            "diffusion_model.joint_blocks.0.x_block.attn.qkv",
        ),
        ("joint_blocks.0.x_block.attn2.qkv", WIDTH, WIDTH): (
            "transformer.transformer_blocks.0.attn2.to_k",
            "lora_transformer_transformer_blocks_0_attn2_to_k",
        ),
        ("joint_blocks.1.context_block.attn.qkv", 0, WIDTH): (
            "transformer.transformer_blocks.1.attn.add_q_proj",
            "lora_transformer_transformer_blocks_1_attn_add_q_proj",
        ),
        ("joint_blocks.0.context_block.mlp.fc1", 0, 4 * WIDTH): (
            "lora_unet_joint_blocks_0_context_block_mlp_fc1",
            "transformer.transformer_blocks.0.ff_context.net.0.proj",
        ),
    },
}


@pytest.mark.parametrize("family", SPELLED)
@pytest.mark.parametrize("spelling", [0, 1])
@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
def test_an_original_base(family: str, spelling: int, prefix: str, tmp_path: Path) -> None:
    """LoRAs in the original names, fused, and in diffusers', for rows of a fused tensor."""
    shapes = ORIGINAL[family](WIDTH)
    base = random_base(shapes, prefix)
    base["vae.unused"] = torch.zeros(2)
    expected, lora = {name: t.double() for name, t in base.items()}, {}
    for (name, first, rows), spelled in SPELLED[family].items():
        up, down = factors(rows, shapes[f"{name}.weight"][1])
        layer = spelled[spelling]
        lora[f"{layer}.lora_up.weight"], lora[f"{layer}.lora_down.weight"] = up, down
        expected[f"{prefix}{name}.weight"][first : first + rows] += up.double() @ down.double()
    with registry_of(tmp_path, base) as registry:
        added = registry.add(save(lora, tmp_path / "lora.safetensors"), base="sd15")
        assert registry.report(added.ref).left_out == ()
        result = weights(registry, "lora")
    for name, tensor in result.items():
        change = float((expected[name] - base[name].double()).norm())
        off = float((tensor.double() - expected[name]).norm())
        assert off <= 1e-5 * change + 2**-23 * float(expected[name].norm()), name
        assert (change > 0) == (not torch.equal(tensor, base[name]))


@pytest.mark.parametrize(
    ("kind", "layer", "parts"),
    [
        ("wan", "blocks.1.cross_attn.o", ("blocks.1.attn2.to_out.0",)),
        ("z-image", "layers.0.attention.qkv", tuple(f"layers.0.attention.to_{x}" for x in "qkv")),
    ],
)
def test_original_names_on_a_folder_of_other_families(
    kind: str, layer: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    base = {f"transformer.{name}": tensor for name, tensor in state_of(kind).items()}
    names = [f"transformer.{part}.weight" for part in parts]
    fused = torch.cat([base[name] for name in names])
    up, down = factors(*fused.shape)
    lora = {
        f"diffusion_model.{layer}.lora_B.weight": up,
        f"diffusion_model.{layer}.lora_A.weight": down,
    }
    with registry_of(tmp_path, base) as registry:
        registry.add(save(lora, tmp_path / "lora.safetensors"), base="sd15")
        result = weights(registry, "lora")
    made = torch.cat([result[name] for name in names])
    assert (made - (fused + up @ down)).norm() <= 1e-5 * fused.norm()
    assert all(torch.equal(result[name], base[name]) for name in base if name not in names)


def small_transformer(family: str) -> torch.nn.Module:
    torch.manual_seed(9)
    if family == "flux":
        return FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=3,
            axes_dims_rope=(2, 2, 4),
            joint_attention_dim=12,
            pooled_projection_dim=12,
            guidance_embeds=True,
        )
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=3,
        joint_attention_dim=28,
        caption_projection_dim=24,
        pooled_projection_dim=28,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
    )


@pytest.mark.parametrize("family", ["flux", "sd3"])
def test_a_base_of_diffusers(family: str, tmp_path: Path) -> None:
    """A file of `save_lora_weights` gives the weights that diffusers merges itself."""
    model = small_transformer(family)
    base = {f"transformer.{name}": t.clone() for name, t in model.state_dict().items()}
    config = LoraConfig(
        r=4,
        lora_alpha=3,
        target_modules=["to_q", "to_k", "add_q_proj", "to_out.0", "ff.net.2", "proj_out"],
        rank_pattern={"to_k": 2},
        alpha_pattern={"to_k": 5},
        init_lora_weights=False,
    )
    model.add_adapter(config)
    pipeline = {"flux": FluxPipeline, "sd3": StableDiffusion3Pipeline}[family]
    fields = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    pipeline.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=fields,
    )
    model.fuse_lora()
    model.unload_lora()
    with registry_of(tmp_path, base) as registry:
        registry.add(tmp_path / "pytorch_lora_weights.safetensors", base="sd15", name="lora")
        result = weights(registry, "lora")
    merged = {f"transformer.{name}": t for name, t in model.state_dict().items()}
    assert result.keys() == merged.keys()
    changed = 0
    for name, tensor in merged.items():
        change = float((tensor.double() - base[name].double()).norm())
        off = float((result[name].double() - tensor.double()).norm())
        assert off <= 1e-5 * change + 2**-23 * float(tensor.double().norm()), name
        changed += change > 0
    assert changed >= 6
