"""Which tensors of a checkpoint each of a pipeline's tensors is made of, in whatever layout."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..checkpoint import TensorInfo
from ..codec.torch_tensors import TORCH_DTYPES
from ..errors import BaseMismatch
from ..layouts import Correspondence, describe, map_names


def find_sources(
    there: Mapping[str, TensorInfo], pipeline: Mapping[str, TensorInfo], owner: str
) -> dict[str, Correspondence]:
    """By name of a pipeline's tensor: those of the checkpoint `there` that are it, and all of it.

    `owner`: what a message calls the checkpoint. Raises `BaseMismatch` if it is of another family,
    or has nothing in common with the pipeline.
    """
    theirs, ours = describe(there), describe(pipeline)
    if "unknown" not in (theirs.family, ours.family) and theirs.family != ours.family:
        raise BaseMismatch(
            f"the pipeline looks like {ours}; {owner} is {theirs}",
            "Load the pipeline from the version's own base.",
        )
    usable = {name: info for name, info in there.items() if info.dtype in TORCH_DTYPES}
    found = {
        one.tensor: one
        for one in map_names(usable, pipeline).correspondences
        if _is_whole(one, usable, pipeline[one.tensor])
    }
    if not found:
        raise BaseMismatch(
            f"{owner} ({theirs}) shares no tensor with the pipeline ({ours})",
            "Load the pipeline from the version's own base.",
        )
    return found


def _is_whole(one: Correspondence, there: Mapping[str, TensorInfo], info: TensorInfo) -> bool:
    """Whether there is a number for each of the tensor's: a pipeline may have more tokens."""
    shape = one.view.shape([there[name].shape for name in one.base])
    return math.prod(shape) == info.elements
