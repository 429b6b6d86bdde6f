"""The layers of diffusion transformers, by their names in the original layout and in diffusers.

The original layout fuses the projections of an attention, one below the other; in diffusers each is
a layer of its own. The tables follow diffusers' single-file conversions
(`convert_flux_transformer_checkpoint_to_diffusers` and those for SD 3, Wan and Z-Image), for any
number of blocks and any width. Qwen-Image has no table: both layouts have one set of names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Parts = tuple[str, ...]
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Block:
    """A kind of block, and what is in it, by original names inside the block.

    `original`, `diffusers`: the names of the list of blocks. `layers`: diffusers' names of a layer's
    rows, from the first to the last; `weight` and `bias` are called so in both layouts. `outputs`:
    the layer that takes what a fused layer makes; its width tells how the rows are divided.
    `tensors`: diffusers' names of tensors whose last word differs.
    """

    original: str
    diffusers: str
    layers: Mapping[str, Parts]
    outputs: Mapping[str, str] = field(default_factory=lambda: NONE)
    tensors: Mapping[str, str] = field(default_factory=lambda: NONE)


@dataclass(frozen=True)
class Words:
    """The names of a family's transformer in both layouts.

    `layers`, `tensors`: those outside the blocks, as in `Block`. `shift_and_scale`: endings of the
    layers whose halves are the other way round in diffusers if they make one shift and one scale.
    """

    layers: Mapping[str, str]
    blocks: tuple[Block, ...]
    tensors: Mapping[str, str] = field(default_factory=lambda: NONE)
    shift_and_scale: Parts = ()


_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_LAST = "final_layer.adaLN_modulation.1"

FLUX = Words(
    layers={
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
        "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
        "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
        "final_layer.linear": "proj_out",
        _LAST: "norm_out.linear",
    },
    blocks=(
        Block(
            "double_blocks",
            "transformer_blocks",
            {
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
            },
            outputs={"img_attn.qkv": "img_attn.proj", "txt_attn.qkv": "txt_attn.proj"},
            tensors={
                "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
                "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
                "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
                "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
            },
        ),
        Block(
            "single_blocks",
            "single_transformer_blocks",
            {
                "modulation.lin": ("norm.linear",),
                "linear1": (*_QKV, "proj_mlp"),
                "linear2": ("proj_out",),
            },
            outputs={"linear1": "linear2"},
            tensors={
                "norm.query_norm.scale": "attn.norm_q.weight",
                "norm.key_norm.scale": "attn.norm_k.weight",
            },
        ),
    ),
    shift_and_scale=(_LAST,),
)
SD3 = Words(
    layers={
        "x_embedder.proj": "pos_embed.proj",
        "context_embedder": "context_embedder",
        "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
        "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
        "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
        "final_layer.linear": "proj_out",
        _LAST: "norm_out.linear",
    },
    blocks=(
        Block(
            "joint_blocks",
            "transformer_blocks",
            {
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
            },
            # The last block has no output for the text; its projections are as wide as the image's.
            outputs={
                "x_block.attn.qkv": "x_block.attn.proj",
                "x_block.attn2.qkv": "x_block.attn2.proj",
                "context_block.attn.qkv": "x_block.attn.proj",
            },
            tensors={
                "x_block.attn.ln_q.weight": "attn.norm_q.weight",
                "x_block.attn.ln_k.weight": "attn.norm_k.weight",
                "x_block.attn2.ln_q.weight": "attn2.norm_q.weight",
                "x_block.attn2.ln_k.weight": "attn2.norm_k.weight",
                "context_block.attn.ln_q.weight": "attn.norm_added_q.weight",
                "context_block.attn.ln_k.weight": "attn.norm_added_k.weight",
            },
        ),
    ),
    tensors={"pos_embed": "pos_embed.pos_embed"},
    shift_and_scale=(_LAST, ".context_block.adaLN_modulation.1"),
)

_WAN_BLOCK: dict[str, Parts] = {
    **{
        f"{ours}_attn.{one}": (f"{theirs}.{other}",)
        for ours, theirs in (("self", "attn1"), ("cross", "attn2"))
        for one, other in (
            ("q", "to_q"),
            ("k", "to_k"),
            ("v", "to_v"),
            ("o", "to_out.0"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    "cross_attn.k_img": ("attn2.add_k_proj",),
    "cross_attn.v_img": ("attn2.add_v_proj",),
    "cross_attn.norm_k_img": ("attn2.norm_added_k",),
    # The two layouts number the norms in another order.
    "norm2": ("norm3",),
    "norm3": ("norm2",),
    "ffn.0": ("ffn.net.0.proj",),
    "ffn.2": ("ffn.net.2",),
}
_MODULATION = {"modulation": "scale_shift_table"}
WAN = Words(
    layers={
        "patch_embedding": "patch_embedding",
        "vace_patch_embedding": "vace_patch_embedding",
        "time_embedding.0": "condition_embedder.time_embedder.linear_1",
        "time_embedding.2": "condition_embedder.time_embedder.linear_2",
        "time_projection.1": "condition_embedder.time_proj",
        "text_embedding.0": "condition_embedder.text_embedder.linear_1",
        "text_embedding.2": "condition_embedder.text_embedder.linear_2",
        "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
        "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
        "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
        "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
        "head.head": "proj_out",
    },
    blocks=(
        Block("blocks", "blocks", _WAN_BLOCK, tensors=_MODULATION),
        Block(
            "vace_blocks",
            "vace_blocks",
            _WAN_BLOCK | {"before_proj": ("proj_in",), "after_proj": ("proj_out",)},
            tensors=_MODULATION,
        ),
    ),
    tensors={"head.modulation": "scale_shift_table"},
)

_Z_IMAGE_BLOCK: dict[str, Parts] = {
    "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
    "attention.out": ("attention.to_out.0",),
    "attention.q_norm": ("attention.norm_q",),
    "attention.k_norm": ("attention.norm_k",),
    **{
        name: (name,)
        for name in (
            "feed_forward.w1",
            "feed_forward.w2",
            "feed_forward.w3",
            "attention_norm1",
            "attention_norm2",
            "ffn_norm1",
            "ffn_norm2",
            "adaLN_modulation.0",
        )
    },
}
Z_IMAGE = Words(
    layers={
        "x_embedder": "all_x_embedder.2-1",
        "final_layer.linear": "all_final_layer.2-1.linear",
        _LAST: f"all_final_layer.2-1.{_LAST.removeprefix('final_layer.')}",
        "t_embedder.mlp.0": "t_embedder.mlp.0",
        "t_embedder.mlp.2": "t_embedder.mlp.2",
        "cap_embedder.0": "cap_embedder.0",
        "cap_embedder.1": "cap_embedder.1",
    },
    blocks=tuple(
        Block(name, name, _Z_IMAGE_BLOCK, outputs={"attention.qkv": "attention.out"})
        for name in ("layers", "noise_refiner", "context_refiner")
    ),
    tensors={"x_pad_token": "x_pad_token", "cap_pad_token": "cap_pad_token"},
)


@dataclass(frozen=True)
class Layer:
    """A layer of the original layout, and diffusers' names of its rows from the first to the last.

    `output`: the original name of the layer that takes what it makes; "" if it is not fused.
    """

    original: str
    parts: Parts
    output: str = ""


def layers(names: Mapping[str, object], words: Words) -> Iterator[Layer]:
    """Every layer that a transformer can have whose blocks have the numbers in `names`."""
    for original, theirs in words.layers.items():
        yield Layer(original, (theirs,))
    for block, ours, theirs in _blocks(names, words):
        for original, parts in block.layers.items():
            output = block.outputs.get(original)
            yield Layer(
                ours + original,
                tuple(theirs + part for part in parts),
                (output and ours + output) or "",
            )


def tensor_names(names: Mapping[str, object], words: Words) -> Iterator[tuple[str, str]]:
    """The original name and diffusers' of every other tensor that the transformer can have."""
    yield from words.tensors.items()
    for block, ours, theirs in _blocks(names, words):
        for original, other in block.tensors.items():
            yield ours + original, theirs + other


def _blocks(names: Mapping[str, object], words: Words) -> Iterator[tuple[Block, str, str]]:
    """Every block of `names`, with its prefix in the original layout and in diffusers."""
    matches = (re.match(r"([a-z_]+)\.(\d+)\.", name) for name in names)
    for kind, number in dict.fromkeys(match.groups() for match in matches if match):
        for block in words.blocks:
            if kind in (block.original, block.diffusers):
                yield block, f"{block.original}.{number}.", f"{block.diffusers}.{number}."
