"""Which tensors of a checkpoint each of a pipeline's tensors is made of, in whatever layout."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..checkpoint import TensorInfo
from ..codec.torch_tensors import TORCH_DTYPES
from ..errors import BaseMismatch
from ..layouts import ViewedTensors, describe, map_names


def find_sources(
    there: Mapping[str, TensorInfo], pipeline: Mapping[str, TensorInfo], owner: str
) -> dict[str, ViewedTensors[str]]:
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
    # A pipeline may have more tokens than the checkpoint: that has no number for each element.
    found = {
        one.tensor: one.base
        for one in map_names(usable, pipeline).correspondences
        if math.prod(one.base.resolve(usable).shape) == pipeline[one.tensor].elements
    }
    if not found:
        raise BaseMismatch(
            f"{owner} ({theirs}) shares no tensor with the pipeline ({ours})",
            "Load the pipeline from the version's own base.",
        )
    return found
