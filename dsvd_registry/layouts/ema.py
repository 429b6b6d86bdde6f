"""The moving averages (EMA) of a U-Net in an original file: `model_ema.*`.

Their names are those of the U-Net without the dots (see diffusers'
`convert_ldm_unet_checkpoint(extract_ema=True)`), so that a list of the U-Net's names is needed to
find the dots again.
"""

from __future__ import annotations

from collections.abc import Sequence

from .model_parts import Part, Split

EMA_MODEL = "unet_ema"
_PREFIX = "model_ema."


def with_ema(split: Split, unet_names: Sequence[str]) -> Split:
    """Add a part for the averages in the rest of `split`, if there are any.

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
