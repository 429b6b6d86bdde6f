"""The original names of the modules of a U-Net in diffusers' layout.

`layouts.conversion` uses diffusers for the other direction, which needs a file in the original
layout. The tables are those of diffusers' script
`convert_diffusers_to_original_stable_diffusion.py`, for any number of levels and layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_MIDDLE = {("resnets", 0): "0", ("attentions", 0): "1", ("resnets", 1): "2"}
_PATH = re.compile(
    r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


def original_unet_names(paths: Collection[str]) -> Callable[[str], str | None]:
    """Return a function from a module's path in diffusers' U-Net to its path in the original one.

    The function returns None for other paths. `paths`: all of the U-Net's, to count its layers.
    """
    matches = [match for path in paths if (match := _PATH.fullmatch(path))]
    first = [int(m[4]) for m in matches if m[1] == "down" and m[2] == "0" and m[3] == "resnets"]
    # A level has one block more than layers: on the way down the last one halves the image.
    step = max(first, default=0) + 2
    attending = {m[2] for m in matches if m[1] == "up" and m[3] == "attentions"}

    def original(path: str) -> str | None:
        if path in _ENDS:
            return _ENDS[path]
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        side, level, kind, number, tail = match.groups()
        place = "0" if kind == "resnets" else "1"
        if kind == "resnets":
            tail = _RESNET.get(tail, tail)
        if side is None:
            middle = _MIDDLE.get((kind, int(number)))
            return middle and f"middle_block.{middle}.{tail}"
        start = step * int(level)
        match side, kind:
            case "down", "downsamplers":
                return f"input_blocks.{start + step}.0.op"
            case "up", "upsamplers":
                return f"output_blocks.{start + step - 1}.{1 + (level in attending)}.{tail}"
            case "down", _:
                return f"input_blocks.{start + int(number) + 1}.{place}.{tail}"
            case _:
                return f"output_blocks.{start + int(number)}.{place}.{tail}"

    return original
