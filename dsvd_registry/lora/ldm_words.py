"""The original (LDM) names for a U-Net in diffusers' names.

They are made by rule and then checked with diffusers' own conversion, which goes the other way: a
name that it does not convert back is not used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from ..layouts.conversion import in_diffusers_names
from ..layouts.view import Shape

_ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
_RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
_MIDDLE = {"resnets.0.": "0.", "attentions.0.": "1.", "resnets.1.": "2."}
_BLOCK = re.compile(
    r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\."
)


def ldm_words(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Map LDM's names of a U-Net's tensors to diffusers' names.

    `shapes`: by diffusers' names inside the U-Net. Raises `CheckpointError` if diffusers' conversion
    fails.
    """
    layers: dict[str, set[str]] = defaultdict(set)
    for name in shapes:
        if match := _BLOCK.match(name):
            layers[f"{match[1]}.{match[2]}.{match[3]}"].add(match[4])
    counts = {block: len(numbers) for block, numbers in layers.items()}
    diffusers_names = {}
    for name in shapes:
        theirs = _ldm_name(name, counts)
        if theirs is not None:
            diffusers_names[theirs] = name
    back = in_diffusers_names(
        "unet", "ldm", {theirs: shapes[diffusers_names[theirs]] for theirs in diffusers_names}
    )
    return {
        source.tensors[0]: name
        for name, source in back.items()
        if diffusers_names[source.tensors[0]] == name
    }


def _ldm_name(name: str, counts: Mapping[str, int]) -> str | None:
    """The LDM name. `counts`: the number of blocks by side, level and kind, as "down.0.resnets"."""
    for ours, theirs in _ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    for ours, theirs in _MIDDLE.items():
        if name.startswith("mid_block." + ours):
            return f"middle_block.{theirs}{_inside(name.removeprefix('mid_block.' + ours))}"
    match = _BLOCK.match(name)
    if match is None:
        return None
    side, level, kind, number = match[1], int(match[2]), match[3], int(match[4])
    rest = name[match.end() :]
    layers = counts.get(f"{side}.{level}.resnets", 0)
    place = int(kind == "attentions")
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (level + 1)}.0.op.{rest.removeprefix('conv.')}"
    if side == "down":
        return f"input_blocks.{(layers + 1) * level + number + 1}.{place}.{_inside(rest)}"
    if kind == "upsamplers":
        after = 1 + (f"up.{level}.attentions" in counts)
        return f"output_blocks.{layers * (level + 1) - 1}.{after}.{rest}"
    return f"output_blocks.{layers * level + number}.{place}.{_inside(rest)}"


def _inside(rest: str) -> str:
    for ours, theirs in _RESNET.items():
        if rest.startswith(ours):
            return theirs + rest.removeprefix(ours)
    return rest
