"""The moving averages that an original file may hold besides the U-Net: `model_ema.*`.

Their names are those of the U-Net without the dots (diffusers reads them so too, see
`convert_ldm_unet_checkpoint(extract_ema=True)`), so the dots must be found again in a list of
names that have them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .sub_models import Part, Split

EMA_MODEL = "unet_ema"
_PREFIX = "model_ema."


def with_ema(split: Split, unet_names: Sequence[str]) -> Split:
    """`split` with a part more for the averages in its rest, if there are any.

    `unet_names`: the names of an LDM U-Net. An average whose name none of them gives, or more than
    one, stays in the rest; so do the average's own numbers (`model_ema.decay`).
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
    """The names of the first LDM U-Net among several checkpoints; none if there is none."""
    for split in splits:
        for part in split.parts:
            if part.model == "unet" and part.naming == "ldm":
                return tuple(part.names)
    return ()


def _flat(name: str) -> str:
    return _PREFIX + f"diffusion_model.{name}".replace(".", "")
