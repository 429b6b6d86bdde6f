"""The layers of a FLUX or SD 3 transformer, by their names in both layouts.

The original layout fuses the projections of an attention, one below the other; in diffusers each is
a layer of its own. The tables follow diffusers' `convert_flux_transformer_checkpoint_to_diffusers`
and its counterpart for SD 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FLUX_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_SD3_OUTSIDE = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
# The layers of a block: by the original name, diffusers' names of its rows from the first on.
_DOUBLE: dict[str, tuple[str, ...]] = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": _QKV,
    "txt_attn.qkv": _ADDED,
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_SINGLE: dict[str, tuple[str, ...]] = {
    "modulation.lin": ("norm.linear",),
    "linear1": (*_QKV, "proj_mlp"),
    "linear2": ("proj_out",),
}
_JOINT: dict[str, tuple[str, ...]] = {
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
    "x_block.attn.qkv": _QKV,
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": _ADDED,
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
}
_BLOCK = re.compile(r"((?:double|single|joint)_blocks|(?:single_)?transformer_blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Family:
    """The layers of a family's transformer, by original names.

    `outside`: diffusers' names of the layers outside the blocks. `blocks`: for each kind of block
    its original name, its name in diffusers, and the layers in it.
    """

    outside: Mapping[str, str]
    blocks: tuple[tuple[str, str, Mapping[str, tuple[str, ...]]], ...]


FLUX = Family(
    _FLUX_OUTSIDE,
    (
        ("double_blocks", "transformer_blocks", _DOUBLE),
        ("single_blocks", "single_transformer_blocks", _SINGLE),
    ),
)
SD3 = Family(_SD3_OUTSIDE, (("joint_blocks", "transformer_blocks", _JOINT),))


@dataclass(frozen=True)
class Layer:
    """A layer of the original layout, and diffusers' names of its rows from the first to the last."""

    original: str
    parts: tuple[str, ...]


def layers(names: Mapping[str, object], family: Family) -> Iterator[Layer]:
    """Every layer that a transformer can have whose blocks have the numbers in `names`."""
    for original, theirs in family.outside.items():
        yield Layer(original, (theirs,))
    numbered = dict.fromkeys(match.groups() for name in names if (match := _BLOCK.match(name)))
    for ours, theirs, inside in family.blocks:
        for kind, number in numbered:
            if kind not in (ours, theirs):
                continue
            for original, parts in inside.items():
                yield Layer(
                    f"{ours}.{number}.{original}",
                    tuple(f"{theirs}.{number}.{part}" for part in parts),
                )
