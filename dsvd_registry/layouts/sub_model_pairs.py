"""The sub-model of a base that each sub-model of a fine-tune was trained from, averages among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..checkpoint import TensorInfo
from .model_parts import Part, Split, is_text_encoder

EMA_MODEL = "unet_ema"
_PREFIX = "model_ema."


def with_ema(split: Split, unet_names: Sequence[str]) -> Split:
    """Add a part for the moving averages (EMA) of a U-Net in the rest of `split`, if there are any.

    The names of averages (`model_ema.*`) are those of the U-Net without the dots (see diffusers'
    `convert_ldm_unet_checkpoint(extract_ema=True)`), so that a list of the U-Net's names is needed to
    find the dots again.

    `unet_names`: the names of an LDM U-Net. An average stays in the rest if no name matches it, or
    more than one; so do the averages' own numbers (`model_ema.decay`).
    """
    dotted: dict[str, list[str]] = {}
    for name in unet_names:
        dotted.setdefault(_flat(name), []).append(name)
    names, rest = {}, []
    for name in split.rest:
        candidates = dotted.get(name, [])
        if len(candidates) == 1:
            names[candidates[0]] = name
        else:
            rest.append(name)
    if not names:
        return split
    return Split((*split.parts, Part(EMA_MODEL, "ldm", "ldm", names)), tuple(rest))


def ldm_unet_names(*splits: Split) -> tuple[str, ...]:
    """The names of the first LDM U-Net among several checkpoints; empty if there is none."""
    for split in splits:
        for part in split.parts:
            if part.model == "unet" and part.naming == "ldm":
                return tuple(part.names)
    return ()


def _flat(name: str) -> str:
    return _PREFIX + f"diffusion_model.{name}".replace(".", "")


_TOKENS = (
    "text_model.embeddings.token_embedding.weight",
    "token_embedding.weight",
    "shared.weight",
)


def partners(
    base: Split,
    base_tensors: Mapping[str, TensorInfo],
    fine_tune: Split,
    tensors: Mapping[str, TensorInfo],
) -> Iterator[tuple[Part, Part]]:
    """Pairs of the base's part and the fine-tune's part, for each that has a counterpart.

    Averages are paired with the base's averages, or with its U-Net if it has none. Text encoders are
    paired by the width of their embeddings first, because their own files do not name them, and the
    refiner's only one is the first in one layout and the second in the other.
    """
    for part in fine_tune.parts:
        if is_text_encoder(part.model):
            candidates = _text_encoders(part, tensors, base.parts, base_tensors)
        else:
            candidates = [other for other in base.parts if other.model == part.model]
        if part.model == EMA_MODEL and not candidates:
            candidates = [other for other in base.parts if other.model == "unet"]
        # Of the two that Wan 2.2 has, a file on its own does not tell which it is.
        if part.model.startswith("transformer") and not candidates:
            candidates = [one for one in base.parts if one.model.startswith("transformer")]
        if candidates:
            yield min(candidates, key=lambda other: other.naming != part.naming), part


def _text_encoders(
    part: Part,
    tensors: Mapping[str, TensorInfo],
    base_parts: tuple[Part, ...],
    base_tensors: Mapping[str, TensorInfo],
) -> list[Part]:
    encoders = [other for other in base_parts if is_text_encoder(other.model)]
    same_name = [other for other in encoders if other.model == part.model]
    width = _width(part, tensors)
    same_width = [other for other in encoders if _width(other, base_tensors) == width]
    return [other for other in same_name if other in same_width] or same_width or same_name


def _width(part: Part, tensors: Mapping[str, TensorInfo]) -> int | None:
    """The length of a token's embedding."""
    for local in _TOKENS:
        if local in part.names:
            return (tensors[part.names[local]].shape or (None,))[-1]
    return None
