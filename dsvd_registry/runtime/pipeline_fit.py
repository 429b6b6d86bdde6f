"""The checks that a version fits a pipeline, and that no other weights are in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from ..container.records import BasedRecord, CastRecord, Header, SameRecord
from ..errors import BaseMismatch, InvalidArgument
from ..layouts.model_parts import Part, split

# Prefixes of the original training code for tensors that no pipeline loads: averages, sampler.
_NO_MODEL_WEIGHTS = ("model_ema.", "denoiser.")
# Tensors of a CLIP that loaders ignore: one is no weight, the other only the training loss reads.
_NOT_READ = ("position_ids", "logit_scale")
_HINT = "Load the pipeline whole from the version's base, and take LoRA weights out of it first."


def check_taken(ref: str, header: Header, taken: Collection[str]) -> None:
    """Raise `InvalidArgument` if the pipeline lacks a tensor that the version changes.

    `taken`: the version's tensors that the pipeline has.
    """
    divided = split(record.name for record in header.tensors)
    parts = {name: part for part in divided.parts for name in part.names.values()}
    casts = [record for record in header.tensors if isinstance(record, CastRecord)]
    # Weights in two precisions need one place in the pipeline.
    variants = {header.tensors[cast.of].name for cast in casts if cast.name in taken}
    variants |= {cast.name for cast in casts}
    for record in header.tensors:
        name = record.name
        rows = record.new_rows if isinstance(record, BasedRecord) else 0
        is_same = isinstance(record, SameRecord) and not rows
        if (
            name in taken
            or name in variants
            or is_same
            or _is_not_loaded(name, parts.get(name), taken)
        ):
            continue
        change = f"adds {rows} rows to {name!r}" if rows else f"changes {name!r}"
        raise InvalidArgument(
            f"{ref} {change}, for which the pipeline has no place of the shape {list(record.shape)}",
            _HINT,
        )


def check_nothing_else(
    tensors: Mapping[str, torch.Tensor], known: Collection[str], changed: Collection[str]
) -> None:
    """Raise `BaseMismatch` if a sub-model to be changed has weights that its base lacks.

    Weights on top of the base (a LoRA, fused projections) would act in addition to the new weights,
    or instead of them. `known`: the pipeline's tensors that the base has. `changed`: those to change.
    """
    parts = {_sub_model(name) for name in changed}
    tied = {id(tensors[name]) for name in known}
    for name, tensor in tensors.items():
        if name in known or id(tensor) in tied or name.endswith(_NOT_READ):
            continue
        if _sub_model(name) in parts:
            raise BaseMismatch(f"the pipeline has {name!r}, which the base lacks", _HINT)


def _is_not_loaded(name: str, part: Part | None, taken: Collection[str]) -> bool:
    """Return whether a loader of the version's file would ignore the tensor in every such pipeline."""
    if name.endswith(_NOT_READ):
        return True
    if part is None:
        # The names of the sampler's numbers have no dots in an original file.
        return name.startswith(_NO_MODEL_WEIGHTS) or "." not in name
    if part.model == "unet_ema":
        return True
    # diffusers ignores an OpenCLIP's last layer and projection if the pipeline's is shorter.
    return part.naming == "open_clip" and any(one in taken for one in part.names.values())


def _sub_model(name: str) -> str:
    return name.partition(".")[0]
