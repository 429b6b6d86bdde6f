"""diffusers' names for the layers of a FLUX or SD 3 transformer in the original layout.

The original keeps the projections of an attention fused, one below the other: each is so many rows.
As diffusers' `convert_flux_transformer_checkpoint_to_diffusers` and its counterpart for SD 3 have
them, which run on models of the published widths alone. What those change besides the name (the
halves of the last modulation change places) has no name here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..layouts import View
from ..layouts.view import Shape

_FLUX = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_FLUX_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_FLUX_SINGLE = {"modulation.lin": "norm.linear", "linear2": "proj_out"}
_SD3 = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_SD3_JOINT = {
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}
_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_FUSED = {
    "img_attn.qkv": _QKV,
    "txt_attn.qkv": _ADDED,
    "x_block.attn.qkv": _QKV,
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": _ADDED,
    "linear1": (*_QKV, "proj_mlp"),
}
_BLOCK = re.compile(r"(double|single|joint)_blocks\.(\d+)\.")
_BLOCKS = {
    "double": ("transformer_blocks", _FLUX_DOUBLE),
    "single": ("single_transformer_blocks", _FLUX_SINGLE),
    "joint": ("transformer_blocks", _SD3_JOINT),
}


def transformer_words(shapes: Mapping[str, Shape]) -> dict[str, tuple[str, View]]:
    """By diffusers' name: the original tensor that has it, and the rows of it.

    `shapes`: by the original names inside the transformer; biases too.
    """
    outside = _FLUX if any(name.startswith("double_blocks.") for name in shapes) else _SD3
    found = {}
    for name, shape in shapes.items():
        path, _, parameter = name.rpartition(".")
        block = _BLOCK.match(name)
        if block is None:
            made = _one(outside.get(path))
        else:
            folder, renamed = _BLOCKS[block[1]]
            inside = path[block.end() :]
            width = shapes.get(f"{path}.weight", (0,))[-1]
            fused = _FUSED.get(inside)
            made = _rows(fused, shape[0], width) if fused else _one(renamed.get(inside))
            made = ((f"{folder}.{block[2]}.{theirs}", view) for theirs, view in made)
        for theirs, view in made:
            found[f"{theirs}.{parameter}"] = name, view
    return found


def _one(name: str | None) -> Iterator[tuple[str, View]]:
    if name is not None:
        yield name, View()


def _rows(names: tuple[str, ...], rows: int, width: int) -> Iterator[tuple[str, View]]:
    """Each as high as the layer is wide; the last takes all that are left."""
    for number, name in enumerate(names):
        first = number * width
        height = rows - first if number == len(names) - 1 else width
        if width and height > 0:
            yield name, View("slice", first, height)
