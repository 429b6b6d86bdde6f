"""Small diffusion transformers of each family's class in diffusers, and their original layouts.

The inverse conversions here are written from diffusers' single-file conversions, not from the code
under test; in `test_transformers.py` these conversions read them back.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import (
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
    ZImageTransformer2DModel,
)
from diffusers.loaders import single_file_utils

from .original import State

WIDTH = 32
PUBLISHED_WIDTH = 3072


def flux_conversion(width: int) -> Callable[[State], State]:
    """diffusers' own conversion for another width than the published one, a constant in its code."""
    convert = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers
    assert inspect.getsource(convert).count(str(PUBLISHED_WIDTH)) == 1
    constants = tuple(
        width if one == PUBLISHED_WIDTH else one for one in convert.__code__.co_consts
    )
    code = convert.__code__.replace(co_consts=constants)
    return types.FunctionType(code, convert.__globals__)


def flux(*, guidance: bool = True, channels: int = 4) -> torch.nn.Module:
    return FluxTransformer2DModel(
        in_channels=channels,
        out_channels=4,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )


def stable_diffusion_3(
    *, dual: tuple[int, ...] = (0, 1), norm: str | None = "rms_norm"
) -> torch.nn.Module:
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=28,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=28,
        pos_embed_max_size=8,
        dual_attention_layers=dual,
        qk_norm=norm,
    )


WAN = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 20,
    "freq_dim": 8,
    "ffn_dim": 40,
    "num_layers": 2,
}


def wan() -> torch.nn.Module:
    return WanTransformer3DModel(**WAN)


def wan_image_to_video() -> torch.nn.Module:
    return WanTransformer3DModel(**WAN | {"image_dim": 12, "added_kv_proj_dim": WIDTH})


def wan_vace() -> torch.nn.Module:
    return WanVACETransformer3DModel(**WAN, vace_layers=[0, 1], vace_in_channels=6)


def z_image() -> torch.nn.Module:
    return ZImageTransformer2DModel(
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        in_channels=4,
        cap_feat_dim=12,
        axes_dims=[4, 4, 8],
        axes_lens=[8, 8, 8],
    )


def qwen_image() -> torch.nn.Module:
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        axes_dims_rope=(4, 4, 8),
    )


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    """Each name by the first rule that it matches from its start on; all names must match one."""
    found = {}
    for name, tensor in state.items():
        made = next(
            (re.sub(rule, to, name, count=1) for rule, to in rules if re.match(rule, name)), None
        )
        assert made is not None, name
        assert made not in found, made
        found[made] = tensor
    return found


def _fused(state: State, parts: tuple[str, ...], whole: str) -> State:
    """The rows of the layers `parts` one below the other as `whole`, in every block that has them."""
    found = dict(state)
    for name in state:
        if parts[0] in name:
            rows = [found.pop(name.replace(parts[0], part)) for part in parts]
            found[name.replace(parts[0], whole)] = torch.cat(rows)
    return found


def _swapped(tensor: torch.Tensor) -> torch.Tensor:
    scale, shift = tensor.chunk(2)
    return torch.cat([shift, scale])


def original_flux(state: State) -> State:
    state = dict(state)
    for name in ("norm_out.linear.weight", "norm_out.linear.bias"):
        state[name] = _swapped(state[name])
    double = {name: t for name, t in state.items() if name.startswith("transformer_blocks.")}
    single = {name: t for name, t in state.items() if name.startswith("single_transformer_blocks.")}
    rest = {name: t for name, t in state.items() if name not in double and name not in single}
    double = _fused(double, (".attn.to_q.", ".attn.to_k.", ".attn.to_v."), ".img_attn.qkv.")
    double = _fused(
        double, (".attn.add_q_proj.", ".attn.add_k_proj.", ".attn.add_v_proj."), ".txt_attn.qkv."
    )
    single = _fused(
        single, (".attn.to_q.", ".attn.to_k.", ".attn.to_v.", ".proj_mlp."), ".linear1."
    )
    block = r"transformer_blocks\.(\d+)\."
    return _renamed(
        double | single | rest,
        (
            (rf"{block}(img|txt)_attn\.qkv", r"double_blocks.\1.\2_attn.qkv"),
            (rf"{block}norm1\.linear", r"double_blocks.\1.img_mod.lin"),
            (rf"{block}norm1_context\.linear", r"double_blocks.\1.txt_mod.lin"),
            (rf"{block}attn\.norm_q\.weight", r"double_blocks.\1.img_attn.norm.query_norm.scale"),
            (rf"{block}attn\.norm_k\.weight", r"double_blocks.\1.img_attn.norm.key_norm.scale"),
            (
                rf"{block}attn\.norm_added_q\.weight",
                r"double_blocks.\1.txt_attn.norm.query_norm.scale",
            ),
            (
                rf"{block}attn\.norm_added_k\.weight",
                r"double_blocks.\1.txt_attn.norm.key_norm.scale",
            ),
            (rf"{block}attn\.to_out\.0", r"double_blocks.\1.img_attn.proj"),
            (rf"{block}attn\.to_add_out", r"double_blocks.\1.txt_attn.proj"),
            (rf"{block}ff\.net\.0\.proj", r"double_blocks.\1.img_mlp.0"),
            (rf"{block}ff\.net\.2", r"double_blocks.\1.img_mlp.2"),
            (rf"{block}ff_context\.net\.0\.proj", r"double_blocks.\1.txt_mlp.0"),
            (rf"{block}ff_context\.net\.2", r"double_blocks.\1.txt_mlp.2"),
            (rf"single_{block}linear1", r"single_blocks.\1.linear1"),
            (rf"single_{block}proj_out", r"single_blocks.\1.linear2"),
            (rf"single_{block}norm\.linear", r"single_blocks.\1.modulation.lin"),
            (rf"single_{block}attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
            (rf"single_{block}attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
            (r"time_text_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
            (r"time_text_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
            (r"time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
            (r"time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
            (r"time_text_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
            (r"time_text_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
            (r"context_embedder", "txt_in"),
            (r"x_embedder", "img_in"),
            (r"proj_out", "final_layer.linear"),
            (r"norm_out\.linear", "final_layer.adaLN_modulation.1"),
        ),
    )


def original_sd3(state: State) -> State:
    state = dict(state)
    last = max(int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks."))
    for layer in ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear"):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            state[name] = _swapped(state[name])
    for attention in ("attn", "attn2"):
        parts = tuple(f".{attention}.to_{one}." for one in "qkv")
        state = _fused(state, parts, f".x_block.{attention}.qkv.")
    added = tuple(f".attn.add_{one}_proj." for one in "qkv")
    state = _fused(state, added, ".context_block.attn.qkv.")
    block = r"transformer_blocks\.(\d+)\."
    return _renamed(
        state,
        (
            (rf"{block}(x|context)_block\.", r"joint_blocks.\1.\2_block."),
            (rf"{block}norm1\.linear", r"joint_blocks.\1.x_block.adaLN_modulation.1"),
            (rf"{block}norm1_context\.linear", r"joint_blocks.\1.context_block.adaLN_modulation.1"),
            (rf"{block}(attn2?)\.norm_([qk])", r"joint_blocks.\1.x_block.\2.ln_\3"),
            (rf"{block}attn\.norm_added_([qk])", r"joint_blocks.\1.context_block.attn.ln_\2"),
            (rf"{block}(attn2?)\.to_out\.0", r"joint_blocks.\1.x_block.\2.proj"),
            (rf"{block}attn\.to_add_out", r"joint_blocks.\1.context_block.attn.proj"),
            (rf"{block}ff\.net\.0\.proj", r"joint_blocks.\1.x_block.mlp.fc1"),
            (rf"{block}ff\.net\.2", r"joint_blocks.\1.x_block.mlp.fc2"),
            (rf"{block}ff_context\.net\.0\.proj", r"joint_blocks.\1.context_block.mlp.fc1"),
            (rf"{block}ff_context\.net\.2", r"joint_blocks.\1.context_block.mlp.fc2"),
            (r"pos_embed\.pos_embed", "pos_embed"),
            (r"pos_embed\.proj", "x_embedder.proj"),
            (r"time_text_embed\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
            (r"time_text_embed\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
            (r"time_text_embed\.text_embedder\.linear_1", "y_embedder.mlp.0"),
            (r"time_text_embed\.text_embedder\.linear_2", "y_embedder.mlp.2"),
            (r"context_embedder", "context_embedder"),
            (r"proj_out", "final_layer.linear"),
            (r"norm_out\.linear", "final_layer.adaLN_modulation.1"),
        ),
    )


def original_wan(state: State) -> State:
    block = r"(blocks|vace_blocks)\.(\d+)\."
    image = r"condition_embedder\.image_embedder\."
    return _renamed(
        state,
        (
            (rf"{block}scale_shift_table", r"\1.\2.modulation"),
            (rf"{block}attn1\.to_([qkv])\.", r"\1.\2.self_attn.\3."),
            (rf"{block}attn2\.to_([qkv])\.", r"\1.\2.cross_attn.\3."),
            (rf"{block}attn1\.to_out\.0", r"\1.\2.self_attn.o"),
            (rf"{block}attn2\.to_out\.0", r"\1.\2.cross_attn.o"),
            (rf"{block}attn1\.norm_([qk])\.", r"\1.\2.self_attn.norm_\3."),
            (rf"{block}attn2\.norm_([qk])\.", r"\1.\2.cross_attn.norm_\3."),
            (rf"{block}attn2\.add_([kv])_proj", r"\1.\2.cross_attn.\3_img"),
            (rf"{block}attn2\.norm_added_k", r"\1.\2.cross_attn.norm_k_img"),
            (rf"{block}norm2", r"\1.\2.norm3"),
            (rf"{block}ffn\.net\.0\.proj", r"\1.\2.ffn.0"),
            (rf"{block}ffn\.net\.2", r"\1.\2.ffn.2"),
            (rf"{block}proj_in", r"\1.\2.before_proj"),
            (rf"{block}proj_out", r"\1.\2.after_proj"),
            (r"condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
            (r"condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
            (r"condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
            (r"condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
            (r"condition_embedder\.time_proj", "time_projection.1"),
            (rf"{image}norm1", "img_emb.proj.0"),
            (rf"{image}ff\.net\.0\.proj", "img_emb.proj.1"),
            (rf"{image}ff\.net\.2", "img_emb.proj.3"),
            (rf"{image}norm2", "img_emb.proj.4"),
            (r"scale_shift_table", "head.modulation"),
            (r"proj_out", "head.head"),
            (r"(vace_)?patch_embedding", r"\g<0>"),
        ),
    )


def original_z_image(state: State) -> State:
    attention = ".attention."
    parts = tuple(f"{attention}to_{one}." for one in "qkv")
    return _renamed(
        _fused(state, parts, f"{attention}qkv."),
        (
            (r"(.*)\.attention\.to_out\.0\.", r"\1.attention.out."),
            (r"(.*)\.attention\.norm_([qk])\.", r"\1.attention.\2_norm."),
            (r"all_x_embedder\.2-1\.", "x_embedder."),
            (r"all_final_layer\.2-1\.", "final_layer."),
            (r"(layers|noise_refiner|context_refiner|t_embedder|cap_embedder)\.", r"\g<0>"),
            (r"(x|cap)_pad_token$", r"\g<0>"),
        ),
    )


@dataclass(frozen=True)
class Kind:
    """A family's class, the inverse of diffusers' conversion, and that conversion."""

    family: str
    make: Callable[[], torch.nn.Module]
    original: Callable[[State], State]
    convert: Callable[[State], State]


_SD3 = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers
_WAN = single_file_utils.convert_wan_transformer_to_diffusers
KINDS = {
    "flux-dev": Kind("flux", flux, original_flux, flux_conversion(WIDTH)),
    "flux-schnell": Kind(
        "flux", lambda: flux(guidance=False), original_flux, flux_conversion(WIDTH)
    ),
    "flux-fill": Kind("flux", lambda: flux(channels=24), original_flux, flux_conversion(WIDTH)),
    "sd3-medium": Kind("sd3", lambda: stable_diffusion_3(dual=(), norm=None), original_sd3, _SD3),
    "sd3.5-medium": Kind("sd3", stable_diffusion_3, original_sd3, _SD3),
    "sd3.5-large": Kind("sd3", lambda: stable_diffusion_3(dual=()), original_sd3, _SD3),
    "wan": Kind("wan", wan, original_wan, _WAN),
    "wan-i2v": Kind("wan", wan_image_to_video, original_wan, _WAN),
    "wan-vace": Kind("wan", wan_vace, original_wan, _WAN),
    "z-image": Kind(
        "z-image",
        z_image,
        original_z_image,
        single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers,
    ),
    # diffusers' conversion is the identity.
    "qwen-image": Kind("qwen-image", qwen_image, dict, dict),
}


def state_of(kind: str, seed: int = 5) -> State:
    """The state of a small transformer with random numbers in every tensor, norms too."""
    generator = torch.Generator().manual_seed(seed)
    state = KINDS[kind].make().state_dict()
    return {n: torch.randn(t.shape, generator=generator) for n, t in sorted(state.items())}
