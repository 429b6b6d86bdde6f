"""The kind of a diffusion transformer, by names that only its family has.

A mark is a few names that are all there in a family's transformer, whatever its size, in the words of
one layout. The files of ComfyUI have the original words of Wan and Z-Image; Qwen-Image's
are those of diffusers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from .transformer_tables import FLUX, SD3, WAN, Z_IMAGE, Words

Kind = Literal["sd3", "flux", "wan", "z-image", "qwen-image"]


@dataclass(frozen=True)
class Mark:
    """Names of a family, and whether they are those of the original layout."""

    kind: Kind
    is_original: bool
    names: tuple[str, ...]


_MARKS = (
    Mark("flux", True, ("double_blocks.0.img_attn.qkv.weight",)),
    Mark("sd3", True, ("joint_blocks.0.x_block.attn.qkv.weight",)),
    Mark("wan", True, ("blocks.0.self_attn.q.weight", "head.modulation")),
    Mark("wan", False, ("blocks.0.attn1.to_q.weight", "condition_embedder.time_proj.weight")),
    Mark("z-image", True, ("layers.0.attention.qkv.weight", "layers.0.adaLN_modulation.0.weight")),
    Mark("z-image", False, ("layers.0.attention.to_q.weight", "all_x_embedder.2-1.weight")),
    Mark("qwen-image", False, ("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight")),
    Mark(
        "flux",
        False,
        (
            "transformer_blocks.0.norm1_context.linear.weight",
            "single_transformer_blocks.0.norm.linear.weight",
            "x_embedder.weight",
        ),
    ),
    Mark(
        "sd3", False, ("transformer_blocks.0.norm1_context.linear.weight", "pos_embed.proj.weight")
    ),
)
# CHECKPOINT_KEY_NAMES of diffusers: FLUX.2, FLUX.3, Chroma and HunyuanVideo have blocks of FLUX's
# names, and Wan-Animate those of Wan. A ControlNet has the blocks of what it controls.
_STRANGE = (
    "single_stream_modulation.",
    "early_stream_modulations.",
    "distilled_guidance_layer.",
    "txt_in.individual_token_refiner.",
    "context_embedder.token_refiner.",
    "face_adapter.",
    "motion_encoder.",
    "controlnet_",
)
# A part of a model may lack its mark. These lists of blocks are no other family's here.
_BLOCKS = (("double_blocks.", FLUX), ("single_transformer_blocks.", FLUX), ("joint_blocks.", SD3))
_WORDS: dict[Kind, Words] = {"flux": FLUX, "sd3": SD3, "wan": WAN, "z-image": Z_IMAGE}


def is_strange(names: Collection[str]) -> bool:
    """Return whether a transformer with a known family's names is something else."""
    return any(name.startswith(_STRANGE) for name in names)


def mark_of(names: Collection[str]) -> Mark | None:
    """The mark that the names inside a transformer have; None if it is of no family here."""
    return next((mark for mark in _MARKS if all(name in names for name in mark.names)), None)


def words_of(names: Collection[str]) -> Words | None:
    """The table of the transformer's family; None if it has one set of names, or no family here."""
    mark = mark_of(names)
    if mark is not None:
        return _WORDS.get(mark.kind)
    found = (words for start, words in _BLOCKS if any(name.startswith(start) for name in names))
    return next(found, None)
