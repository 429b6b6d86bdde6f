"""The part of a diffusion model that a tensor belongs to, by its name.

The names are those of diffusers' folders and modules, and of the original (LDM) single files. The
Delta-SVD paper (arXiv 2508.16863) reports ranks by these groups. They are for people to read,
and to name the layers whose weights a merge changes; nothing else is decided by them.
"""

from __future__ import annotations

import re

OTHER = "other"
GROUPS = (
    "conv_in",
    "down",
    "mid",
    "up",
    "conv_out",
    "time embedding",
    "transformer",
    "text encoder",
    "VAE",
    OTHER,
)
"""Every group: the U-Net's in the order of a forward pass, then the other models."""

# The first pattern that matches the start of a name decides. After a group of None, the next table
# decides by the rest of the name, which is a U-Net's.
_PARTS: tuple[tuple[re.Pattern[str], str | None], ...] = tuple(
    (re.compile(pattern), group)
    for pattern, group in (
        (r"model_ema\.", OTHER),
        (
            r"(cond_stage_model|conditioner|text_encoder(s|_\d+)?|text_model|text_projection)[./]",
            "text encoder",
        ),
        (r"(first_stage_model|vae|encoder|decoder|quant_conv|post_quant_conv)[./]", "VAE"),
        (
            r"(model\.diffusion_model\.)?(single_transformer|transformer|double|single|joint)_blocks\.",
            "transformer",
        ),
        (r"transformer[./]", "transformer"),
        (r"(unet|model\.diffusion_model)[./]", None),
    )
)
_UNET: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), group)
    for pattern, group in (
        (r"(conv_in|input_blocks\.0\.0)\.", "conv_in"),
        (r"(down_blocks|input_blocks)\.", "down"),
        (r"(mid_block|middle_block)\.", "mid"),
        (r"(up_blocks|output_blocks)\.", "up"),
        (r"(conv_out|conv_norm_out|out)\.", "conv_out"),
        (
            r"(time_embed|time_embedding|label_emb|add_embedding|class_embedding)\.",
            "time embedding",
        ),
    )
)


def layer_group(name: str) -> str:
    """The group of a tensor: "conv_in", "down", "mid", "up", "conv_out",
    "time embedding", "transformer", "text encoder", "VAE" or "other"."""
    rest = name
    for pattern, part in _PARTS:
        match = pattern.match(name)
        if match and part is not None:
            return part
        if match:
            rest = name[match.end() :]
    return next((group for pattern, group in _UNET if pattern.match(rest)), OTHER)
