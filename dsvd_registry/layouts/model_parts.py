"""The sub-models of a checkpoint: the tensors of each, and their names inside it.

The name of a sub-model is that of its folder in a diffusers checkpoint: `unet`, `vae`,
`text_encoder`. Known prefixes are those of the original (LDM, SGM) files, of diffusers folders
(`unet.` or `unet/`), of A1111, which also reads SD 1 files without `text_model.`, and of ComfyUI
(`text_encoders.clip_l.`, `vae.`). A file without a prefix may contain one sub-model only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .transformer_marks import mark_of

Naming = Literal["ldm", "open_clip", "diffusers"]
Layout = Literal["ldm", "diffusers"]

_ORIGINAL_PREFIXES = {
    "model.diffusion_model.": "unet",
    "first_stage_model.": "vae",
    "cond_stage_model.transformer.": "text_encoder",
    "cond_stage_model.model.": "text_encoder",
    "conditioner.embedders.0.transformer.": "text_encoder",
    # SD 2.1 in the SGM layout (SD-Turbo), and the only text encoder of the SDXL refiner.
    "conditioner.embedders.0.model.": "text_encoder",
    "conditioner.embedders.1.model.": "text_encoder_2",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
}
_FOLDER = re.compile(r"(unet_ema|unet|vae|transformer(?:_2)?|text_encoder(?:_[23])?)[./]")

# Names at the top of a file that only one sub-model has; all names of a group must be there.
_OWN_FILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unet", ("input_blocks.0.0.weight", "out.2.weight")),
    ("unet", ("conv_in.weight", "time_embedding.linear_1.weight", "conv_out.weight")),
    ("vae", ("encoder.conv_in.weight",)),
    ("vae", ("decoder.conv_in.weight",)),
    ("text_encoder", ("text_model.embeddings.token_embedding.weight",)),
    ("text_encoder", ("embeddings.token_embedding.weight",)),
    ("text_encoder", ("token_embedding.weight", "positional_embedding")),
    ("text_encoder_3", ("shared.weight", "encoder.final_layer_norm.weight")),
    ("transformer", ("transformer_blocks.0.norm1_context.linear.weight",)),
)
_LDM_TRANSFORMER = ("double_blocks.", "joint_blocks.")
_LDM_STARTS = {
    "unet": ("input_blocks.", "output_blocks."),
    "vae": ("encoder.down.", "encoder.mid.", "decoder.up.", "decoder.mid."),
}
_PROJECTIONS = ("text_projection.weight", "text_projection")
# transformers >= 5.6 saves a CLIPTextModel without `text_model.`, as early SD 1 files did.
_FLAT_CLIP = ("embeddings.", "encoder.layers.", "final_layer_norm.")
# Early diffusers named the attention of a VAE so (ModelMixin._fix_state_dict_keys_on_load).
_OLD_ATTENTION = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.")
_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Part:
    """The tensors of one sub-model.

    `names`: the name in the file, by the name inside the sub-model. `naming`: the scheme of the names
    inside. `layout`: the kind of file; a CLIP of transformers has the same names in every layout.
    """

    model: str
    naming: Naming
    layout: Layout
    names: Mapping[str, str]


@dataclass(frozen=True)
class Split:
    """The sub-models of a checkpoint, and the names that belong to none (`rest`)."""

    parts: tuple[Part, ...]
    rest: tuple[str, ...]


def split(names: Iterable[str]) -> Split:
    """Sort the names of a checkpoint by sub-model. Every name is in one part or in `rest`."""
    known = dict.fromkeys(names)
    variants = tuple(name for name in known if _is_of_variant(name))
    for name in variants:
        del known[name]
    of_transformer = mark_of(known)
    own_files = (
        (("transformer", of_transformer.names), *_OWN_FILES) if of_transformer else _OWN_FILES
    )
    for model, marks in own_files:
        if all(mark in known for mark in marks):
            projects = model == "text_encoder" and any(name in known for name in _PROJECTIONS)
            pairs = [(name, name) for name in known]
            # In diffusers only SDXL's second text encoder has a projection, among SD 1, SD 2 and SDXL.
            part, rest = _part("text_encoder_2" if projects else model, "diffusers", pairs)
            return Split((part,), (*rest, *variants))
    pairs_of_part: dict[tuple[str, Layout], list[tuple[str, str]]] = {}
    rest_names = list(variants)
    for name in known:
        located = _located(name)
        if located is None:
            rest_names.append(name)
        else:
            pairs_of_part.setdefault(located[:2], []).append((located[2], name))
    parts = []
    for (model, layout), pairs in pairs_of_part.items():
        part, rest = _part(model, layout, pairs)
        parts.append(part)
        rest_names += rest
    return Split(tuple(parts), tuple(rest_names))


def is_text_encoder(model: str) -> bool:
    """Return whether the sub-model is one of the text encoders."""
    return model.startswith("text_encoder")


def _is_of_variant(name: str) -> bool:
    """True for a tensor of a variant's file, such as `unet/model.fp16/conv_in.weight`."""
    folder = name.rpartition("/")[0]
    return bool(folder) and _FOLDER.fullmatch(f"{folder}/") is None


def _located(name: str) -> tuple[str, Layout, str] | None:
    """The sub-model, layout and name inside the sub-model of a name in a file."""
    for prefix, model in _ORIGINAL_PREFIXES.items():
        if name.startswith(prefix):
            return model, "ldm", name[len(prefix) :]
    match = _FOLDER.match(name)
    return (match[1], "diffusers", name[match.end() :]) if match else None


def _part(model: str, layout: Layout, pairs: list[tuple[str, str]]) -> tuple[Part, tuple[str, ...]]:
    """The part of these (name inside, name in the file) pairs, and the names that occur twice."""
    locals_of_part = dict(pairs)
    naming = _naming(model, locals_of_part)
    is_transformer = any(local.startswith(_LDM_TRANSFORMER) for local in locals_of_part)
    if model == "unet" and (is_transformer or mark_of(locals_of_part) is not None):
        model = "transformer"
    names: dict[str, str] = {}
    twice = []
    for local, name in pairs:
        if names.setdefault(_current(local, model, naming), name) != name:
            twice.append(name)
    return Part(model, naming, layout if naming == "diffusers" else "ldm", names), tuple(twice)


def _naming(model: str, names: Collection[str]) -> Naming:
    if is_text_encoder(model):
        clip = any(name.startswith("transformer.resblocks.") for name in names)
        return "open_clip" if clip else "diffusers"
    mark = mark_of(names)
    if mark is not None:
        return "ldm" if mark.is_original else "diffusers"
    starts = _LDM_STARTS.get(model.removesuffix("_ema"), ()) + _LDM_TRANSFORMER
    return "ldm" if any(name.startswith(starts) for name in names) else "diffusers"


def _current(local: str, model: str, naming: Naming) -> str:
    """The name in today's diffusers and transformers of `local`, which may be an older name."""
    if naming == "diffusers" and is_text_encoder(model) and local.startswith(_FLAT_CLIP):
        return "text_model." + local
    if naming == "diffusers" and model == "vae":
        return _OLD_ATTENTION.sub(lambda match: f"{match[1]}{_NEW_ATTENTION[match[2]]}.", local)
    return local
