"""The names that diffusers gives to the tensors of a sub-model in the original layout.

The conversion functions of diffusers run on tagged tensors. They need a configuration, which
otherwise comes from the model hub; the few values that they read follow from the tensors' names:

- `layers_per_block` of a U-Net is the number of input blocks up to the first that downsamples;
- a vector embedding (`label_emb.0.*`) is called `add_embedding` in SDXL and `class_embedding`
  elsewhere: the conversion makes both names, and the one that the other checkpoint has is used;
- `down_block_types` and `up_block_types` of a VAE are only counted;
- for an OpenCLIP only `hidden_size` is read, and only if it has no projection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from ..errors import CheckpointError
from .element_tags import TaggedTensors, copies_are_views
from .model_parts import Naming
from .view import Shape, ViewedTensors

State = dict[str, torch.Tensor]

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
# SDXL's prefix: under SD 2's, diffusers leaves out the last of 24 layers and the projection, which
# its own SD 2 lacks, but other checkpoints have.
_OPEN_CLIP = "conditioner.embedders.1.model."


def in_diffusers_names(
    model: str, naming: Naming, shapes: Mapping[str, Shape]
) -> dict[str, ViewedTensors[str]]:
    """Map diffusers' names inside the sub-model to the tensor of `shapes` that each is made of.

    `converts` must be true for the sub-model. A tensor that diffusers has no name for is missing in
    the answer, and so are all tensors of a U-Net or VAE with missing blocks.

    Args:
        model: the sub-model, such as "unet".
        naming: the names that it uses.
        shapes: the shapes of its tensors, by their names inside the sub-model.

    Returns:
        One tensor and its view, by diffusers' name.

    Raises:
        CheckpointError: if diffusers' conversion fails otherwise.
    """
    try:
        tagged = TaggedTensors(shapes)
        with copies_are_views():
            converted = _convert(model, naming, tagged.tensors)
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"diffusers cannot convert the names of the {model}: {type(error).__name__}: {error}",
            "It lacks tensors, or diffusers does not convert this kind of model.",
        ) from error
    # The conversions look some names up with `get`, which gives None for a name that is not there.
    sources = {
        name: tagged.source_of(tensor) for name, tensor in converted.items() if tensor is not None
    }
    return {name: source for name, source in sources.items() if source is not None}


def converts(model: str, naming: Naming) -> bool:
    """Return whether `in_diffusers_names` can convert this kind of sub-model."""
    return naming == "open_clip" or (naming == "ldm" and model in ("unet", "unet_ema", "vae"))


def _convert(model: str, naming: Naming, tensors: State) -> State:
    if naming == "open_clip":
        return _convert_open_clip(tensors)
    return _convert_vae(tensors) if model == "vae" else _convert_unet(tensors)


def _convert_unet(tensors: State) -> State:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    layers = _layers_per_block(tensors)
    if layers is None:
        return {}
    config: dict[str, Any] = {"layers_per_block": layers}
    if "label_emb.weight" in tensors:
        config["num_class_embeds"] = tensors["label_emb.weight"].shape[0]
    if "label_emb.0.0.weight" in tensors:
        config["class_embed_type"] = "projection"
        config["addition_embed_type"] = "text_time"
    converted: State = convert_ldm_unet_checkpoint(_prefixed(_UNET, tensors), config)
    return converted


def _convert_vae(tensors: State) -> State:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    down, up = _count(r"encoder\.down\.(\d+)\.", tensors), _count(r"decoder\.up\.(\d+)\.", tensors)
    if down is None or up is None or (down and up and down != up):
        return {}
    config = {"down_block_types": [""] * down, "up_block_types": [""] * up}
    converted: State = convert_ldm_vae_checkpoint(_prefixed(_VAE, tensors), config)
    return converted


def _convert_open_clip(tensors: State) -> State:
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    fused = [tensor for name, tensor in tensors.items() if name.endswith(".in_proj_weight")]
    width = fused[0].shape[1] if fused else 0
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=width))
    # diffusers transposes the projection, and torch warns if that is no matrix.
    whole = {n: t for n, t in tensors.items() if n != "text_projection" or t.ndim == 2}
    prefixed = _prefixed(_OPEN_CLIP, whole)
    converted: State = convert_open_clip_checkpoint(model, prefixed, _OPEN_CLIP)
    return converted


def _prefixed(prefix: str, tensors: State) -> State:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _layers_per_block(names: Mapping[str, object]) -> int | None:
    """Count the layers per block, up to the first block that downsamples.

    Returns None for a U-Net with missing blocks: diffusers counts the blocks, and would make wrong
    names.
    """
    blocks = _count(r"input_blocks\.(\d+)\.", names)
    if not blocks or blocks != _count(r"output_blocks\.(\d+)\.", names):
        return None
    # Input block 0 is the first convolution; each level but the last ends with a block that
    # downsamples, so that a level takes as many blocks as it has layers, and one.
    downsamplers = (re.match(r"input_blocks\.(\d+)\.0\.op\.", name) for name in names)
    level = min((int(match[1]) for match in downsamplers if match), default=blocks)
    return level - 1 if blocks % level == 0 else None


def _count(pattern: str, names: Mapping[str, object]) -> int | None:
    """Count the numbers that `pattern` finds in the names; None if they are not 0, 1, 2, ..."""
    numbers = {int(match[1]) for name in names if (match := re.match(pattern, name))}
    return len(numbers) if numbers == set(range(len(numbers))) else None
