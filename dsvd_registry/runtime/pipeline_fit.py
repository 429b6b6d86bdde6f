"""Whether a version fits a pipeline: all that it changes has a place there, and nothing covers it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from ..container.records import BasedRecord, CastRecord, Header, SameRecord
from ..errors import BaseMismatch, InvalidArgument
from ..layouts.sub_models import Part, split

# Of the original training code, beside the model (or in no sub-model's folder): averages, sampler.
_BESIDE_THE_MODEL = ("model_ema.", "denoiser.")
# Of CLIP: not a weight, and what only its training loss reads. Loaders pass over both.
_NOT_READ = ("position_ids", "logit_scale")
_HINT = "Load the pipeline whole from the version's base, and take LoRA weights out of it first."


def check_taken(ref: str, header: Header, taken: Collection[str]) -> None:
    """Raises `InvalidArgument`, naming a tensor, if a pipeline lacks what the version changes.

    `taken`: the version's tensors that the pipeline has a place for.
    """
    divided = split(record.name for record in header.tensors)
    parts = {name: part for part in divided.parts for name in part.names.values()}
    casts = [record for record in header.tensors if isinstance(record, CastRecord)]
    # Weights in two precisions need a place once: where the other has none, it is named itself.
    beside = {header.tensors[one.of].name for one in casts if one.name in taken}
    beside |= {one.name for one in casts}
    for record in header.tensors:
        name = record.name
        rows = record.new_rows if isinstance(record, BasedRecord) else 0
        is_same = isinstance(record, SameRecord) and not rows
        if (
            name in taken
            or name in beside
            or is_same
            or _is_passed_over(name, parts.get(name), taken)
        ):
            continue
        what = f"adds {rows} rows to {name!r}" if rows else f"changes {name!r}"
        raise InvalidArgument(
            f"{ref} {what}, for which the pipeline has no place of the shape {list(record.shape)}",
            _HINT,
        )


def check_nothing_else(
    tensors: Mapping[str, torch.Tensor], known: Collection[str], changed: Collection[str]
) -> None:
    """Raises `BaseMismatch` if a sub-model that is to be changed holds weights that its base lacks.

    What is loaded or fused on top (LoRA, joined projections) would go on beside the new weights, or
    in their stead. `known`: the pipeline's tensors that the base has, `changed`: those to change.
    """
    parts = {_sub_model(name) for name in changed}
    tied = {id(tensors[name]) for name in known}
    for name, tensor in tensors.items():
        if name in known or id(tensor) in tied or name.endswith(_NOT_READ):
            continue
        if _sub_model(name) in parts:
            raise BaseMismatch(f"the pipeline has {name!r}, which the base lacks", _HINT)


def _is_passed_over(name: str, part: Part | None, taken: Collection[str]) -> bool:
    """Whether a loader of the version's file would leave the tensor out of every such pipeline."""
    if name.endswith(_NOT_READ):
        return True
    if part is None:
        # The sampler's numbers stand at the top of an original file.
        return name.startswith(_BESIDE_THE_MODEL) or "." not in name
    if part.model == "unet_ema":
        return True
    # diffusers leaves an OpenCLIP's last layer and projection out where the pipeline ends earlier.
    return part.naming == "open_clip" and any(one in taken for one in part.names.values())


def _sub_model(name: str) -> str:
    return name.partition(".")[0]
