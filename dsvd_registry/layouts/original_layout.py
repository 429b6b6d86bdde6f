"""The tensors of a file in the original layout that correspond to those of a diffusers folder.

diffusers only converts the other way. The names here are those of its script
`convert_diffusers_to_original_stable_diffusion.py`, for any number of levels and layers, and those of
`transformer_tables`. Callers check them with `map_names`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..checkpoint import TensorInfo
from ..errors import InvalidArgument
from .families import Family, describe
from .model_parts import Part, split
from .original_unet import original_unet_names
from .transformer_conversion import original_transformer

Rule = Callable[[Mapping[str, TensorInfo]], Iterator[TensorInfo]]

_UNET_AND_VAE = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}
_CLIP_L = "text_encoders.clip_l.transformer."
_T5 = "text_encoders.t5xxl.transformer."
_TRANSFORMER = {"transformer": "model.diffusion_model."}
# Those of the published files that hold all sub-models; for FLUX, of ComfyUI's. The text encoders of
# the last three families come as files of their own, and so does the VAE.
_PREFIXES: dict[Family, dict[str, str]] = {
    "sd1": _UNET_AND_VAE | {"text_encoder": "cond_stage_model.transformer."},
    "sd2": _UNET_AND_VAE | {"text_encoder": "cond_stage_model.model."},
    "sdxl": _UNET_AND_VAE
    | {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "sdxl-refiner": _UNET_AND_VAE | {"text_encoder_2": "conditioner.embedders.0.model."},
    "sd3": _TRANSFORMER
    | {
        "vae": "first_stage_model.",
        "text_encoder": _CLIP_L,
        "text_encoder_2": "text_encoders.clip_g.transformer.",
        "text_encoder_3": _T5,
    },
    "flux": _TRANSFORMER | {"vae": "vae.", "text_encoder": _CLIP_L, "text_encoder_2": _T5},
    "wan": _TRANSFORMER,
    "z-image": _TRANSFORMER,
    "qwen-image": _TRANSFORMER,
}
_VAE = (
    ("conv_norm_out.", "norm_out."),
    ("conv_shortcut.", "nin_shortcut."),
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.resnets.1.", "mid.block_2."),
    ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
    ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
    ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
    ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
    ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
)
_OPEN_CLIP = (
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_projection.weight", "text_projection"),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.out_proj.", ".attn.out_proj."),
    (".self_attn.q_proj.", ".attn.in_proj_"),  # one tensor, in which k and v follow
)


def original_tensors(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors of the original file, by name, that a folder of `tensors` corresponds to.

    A transformer that no other sub-model goes with has names without a prefix, as in its published
    file. A tensor that no rule knows has none, unless it is a transformer's. Raises `InvalidArgument`
    for a family without an original layout here, for tensors that are not in diffusers' names, for
    two transformers, and for a transformer with a weight that the original layout lacks.
    """
    description = describe(tensors)
    if description.layout != "diffusers" or description.family not in _PREFIXES:
        raise InvalidArgument(
            f"it is {description}, which is not written as a single file in the original layout",
            "Stable Diffusion, FLUX, Wan, Z-Image and Qwen-Image in the layout of diffusers are.",
        )
    parts = split(tensors).parts
    if {"transformer", "transformer_2"} <= {part.model for part in parts}:
        raise InvalidArgument(
            "it has two transformers, which are two files in the original layout",
            "Add the folder of each transformer as a version of its own.",
        )
    prefixes = _PREFIXES[description.family]
    taken = [part for part in parts if part.model in prefixes and part.naming == "diffusers"]
    if [part.model for part in taken] == ["transformer"]:
        prefixes = {"transformer": ""}
    originals = {}
    for part in taken:
        prefix = prefixes[part.model]
        own = {local: replace(tensors[name], name=local) for local, name in part.names.items()}
        for info in _rule(part, prefix)(own):
            originals[prefix + info.name] = replace(info, name=prefix + info.name)
    return originals


def _rule(part: Part, prefix: str) -> Rule:
    if part.model == "unet":
        return _unet
    if part.model == "vae":
        return _vae
    if part.model == "transformer":
        return original_transformer
    return _open_clip if prefix.endswith(".model.") else _clip


def _unet(tensors: Mapping[str, TensorInfo]) -> Iterator[TensorInfo]:
    paths = {local.rpartition(".")[0] for local in tensors}
    # Inside an attention the names are equal; the rule covers the path down to there.
    heads = {_head(path) for path in paths}
    original = original_unet_names(heads)
    for local, info in tensors.items():
        path, _, last = local.rpartition(".")
        head = _head(path)
        theirs = original(head)
        if theirs is not None:
            yield replace(info, name=f"{theirs}{path[len(head) :]}.{last}")


def _head(path: str) -> str:
    """The path of a U-Net's module down to the attention that it is in, or the whole path."""
    match = re.match(r"(?:(?:down|up)_blocks\.\d+|mid_block)\.attentions\.\d+\.[^.]+", path)
    return match[0] if match else path


def _vae(tensors: Mapping[str, TensorInfo]) -> Iterator[TensorInfo]:
    numbers = [
        int(match[1]) for name in tensors if (match := re.search(r"\.down_blocks\.(\d+)", name))
    ]
    top = max(numbers, default=0)

    def level(match: re.Match[str]) -> str:
        words = {"resnets": "block", "downsamplers.0": "downsample", "upsamplers.0": "upsample"}
        number = int(match[2]) if match[1] == "down" else top - int(match[2])
        return f"{match[1]}.{number}.{words[match[3]]}"

    for local, info in tensors.items():
        name = _replaced(local, _VAE)
        name = re.sub(
            r"\b(down|up)_blocks\.(\d+)\.(resnets|downsamplers\.0|upsamplers\.0)", level, name
        )
        is_projection = ".attn_1." in name and len(info.shape) == 2
        shape = (*info.shape, 1, 1) if is_projection else info.shape  # 1x1 convolutions there
        yield replace(info, name=name, shape=shape)


def _clip(tensors: Mapping[str, TensorInfo]) -> Iterator[TensorInfo]:
    yield from (replace(info, name=local) for local, info in tensors.items())


def _open_clip(tensors: Mapping[str, TensorInfo]) -> Iterator[TensorInfo]:
    for local, info in tensors.items():
        if re.search(r"\.self_attn\.[kv]_proj\.|position_ids", local):
            continue
        shape = info.shape
        if local == "text_projection.weight":
            shape = shape[::-1]
        if ".self_attn.q_proj." in local:
            shape = (3 * shape[0], *shape[1:])
        yield replace(info, name=_replaced(local, _OPEN_CLIP), shape=shape)


def _replaced(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for ours, theirs in rules:
        name = name.replace(ours, theirs)
    return name
