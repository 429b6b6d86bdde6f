"""The family and layout of a checkpoint, by the names and shapes of its tensors alone.

The structure decides, not the width, so that small models of a family (for tests, or distilled) are
recognised too. SD 2 and SDXL have linear layers around their attention where SD 1 has 1x1
convolutions. SDXL embeds a vector in addition to the time step, and its refiner has no attention at
the deepest level. diffusers' `infer_diffusers_model_type` instead looks for single names in files of
the published sizes, and calls everything else SD 1.

A VAE or a text encoder alone has no family: SD 1, SDXL, SD 3 and FLUX share one CLIP. The names do
not show how a model is sampled (v-prediction).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..checkpoint import TensorInfo
from ..errors import BaseMismatch
from .model_parts import Layout, Part, split
from .transformer_marks import Kind, is_strange, mark_of

Family = Literal["sd1", "sd2", "sdxl", "sdxl-refiner", Kind, "unknown"]

_FAMILIES: dict[Family, str] = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "Stable Diffusion XL refiner",
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX",
    "wan": "Wan",
    "z-image": "Z-Image",
    "qwen-image": "Qwen-Image",
    "unknown": "unknown family",
}
_LAYOUTS: dict[Layout | Literal["unknown"], str] = {
    "ldm": "original layout",
    "diffusers": "diffusers layout",
    "unknown": "unknown layout",
}
_MODELS = {
    "unet": "U-Net",
    "vae": "VAE",
    "transformer": "transformer",
    "transformer_2": "second transformer",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
    "text_encoder_3": "third text encoder",
}
# Models built like one of the families that are something else: video, upscaler, Kolors.
_STRANGE_UNET = (
    "time_stack.",
    "temporal_transformer_blocks.",
    "motion_modules.",
    "encoder_hid_proj.",
    "controlnet_cond_embedding.",
)
_STRANGE_UNET_NAMES = ("label_emb.weight", "class_embedding.weight")


@dataclass(frozen=True)
class Description:
    """The family, layout and sub-models of a checkpoint.

    `models`: the names of the sub-models' folders in a diffusers checkpoint.
    """

    family: Family
    layout: Layout | Literal["unknown"]
    models: tuple[str, ...]

    def __str__(self) -> str:
        """The description for people: "Stable Diffusion XL, original layout"."""
        words = [_FAMILIES[self.family]] if self.family != "unknown" else []
        if len(self.models) == 1:
            words.append(_MODELS[self.models[0]])
        return f"{' '.join(words) or _FAMILIES['unknown']}, {_LAYOUTS[self.layout]}"


def family_name(family: Family) -> str:
    """The name of a family for people: "Stable Diffusion XL"."""
    return _FAMILIES[family]


def describe(tensors: Mapping[str, TensorInfo]) -> Description:
    """Describe the checkpoint that has these tensors."""
    parts = split(tensors).parts
    layout: Layout | Literal["unknown"] = "unknown"
    if parts:
        layout = "ldm" if any(part.layout == "ldm" for part in parts) else "diffusers"
    models = tuple(dict.fromkeys(p.model for p in parts if p.model in _MODELS))
    return Description(_family(parts, tensors), layout, models)


def check_same_family(base: Mapping[str, TensorInfo], fine_tune: Mapping[str, TensorInfo]) -> None:
    """Raise `BaseMismatch`, which names both, if base and fine-tune belong to two known families."""
    expected, given = describe(base), describe(fine_tune)
    if "unknown" not in (expected.family, given.family) and expected.family != given.family:
        raise BaseMismatch(
            f"the checkpoint looks like {given}; the base is {expected}",
            f"Take a base of the checkpoint's own family: {_FAMILIES[given.family]}.",
        )


def _family(parts: tuple[Part, ...], tensors: Mapping[str, TensorInfo]) -> Family:
    by_model = {part.model: part for part in parts}
    if "unet" in by_model:
        return _unet_family(by_model["unet"], tensors)
    transformer = by_model.get("transformer") or by_model.get("transformer_2")
    if transformer is not None:
        return _transformer_family(transformer)
    if any(name.startswith("conditioner.embedders.1.model.") for name in tensors):
        return "sdxl"
    return "unknown"


def _unet_family(unet: Part, tensors: Mapping[str, TensorInfo]) -> Family:
    names = unet.names
    strange = any(mark in name for name in names for mark in _STRANGE_UNET)
    if strange or any(name in names for name in _STRANGE_UNET_NAMES):
        return "unknown"
    levels = _attention_by_level(unet)
    projections = [name for local, name in names.items() if local.endswith(".proj_in.weight")]
    if not levels or not projections:
        return "unknown"
    if len(tensors[projections[0]].shape) != 2:
        return "sd1"
    # SD 2.1 unCLIP embeds a vector too, under SDXL's name in the original layout, but it has
    # attention at the finest level.
    original_xl = "label_emb.0.0.weight" in names and not levels[0]
    if "add_embedding.linear_1.weight" not in names and not original_xl:
        return "sd2"
    return "sdxl" if levels[-1] else "sdxl-refiner"


def _attention_by_level(unet: Part) -> list[bool]:
    """Tell for each level, the finest first, whether the U-Net has attention there.

    For an LDM U-Net the list has each block instead of each level.
    """
    if unet.naming == "diffusers":
        block, attention = r"down_blocks\.(\d+)\.", "down_blocks.{}.attentions.0.proj_in.weight"
    else:
        # Neither the first convolution nor the blocks that downsample have an `in_layers`.
        block, attention = (
            r"input_blocks\.(\d+)\.0\.in_layers\.",
            "input_blocks.{}.1.proj_in.weight",
        )
    numbers = {int(match[1]) for name in unet.names if (match := re.match(block, name))}
    return [attention.format(number) in unet.names for number in sorted(numbers)]


def _transformer_family(transformer: Part) -> Family:
    names = transformer.names
    if is_strange(names):
        return "unknown"
    # A partial file may lack its mark; these names are no other family's.
    if any(name.startswith("joint_blocks.0.context_block.") for name in names):
        return "sd3"
    if "double_blocks.0.img_attn.norm.key_norm.scale" in names:
        return "flux"
    mark = mark_of(names)
    return "unknown" if mark is None else mark.kind
