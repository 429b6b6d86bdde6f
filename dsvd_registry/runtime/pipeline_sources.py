"""The tensors of a checkpoint, in any layout, that each of a pipeline's tensors is loaded from."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..checkpoint import TensorInfo
from ..codec.torch_tensors import TORCH_DTYPES
from ..errors import BaseMismatch
from ..layouts import ViewedTensors, describe, map_names


def find_sources(
    checkpoint: Mapping[str, TensorInfo], pipeline: Mapping[str, TensorInfo], owner: str
) -> dict[str, ViewedTensors[str]]:
    """Find the tensors of a checkpoint that fill each tensor of the pipeline completely, by its name.

    `owner`: the name of the checkpoint in messages. Raises `BaseMismatch` if it is of another
    family, or shares no tensor with the pipeline.
    """
    theirs, ours = describe(checkpoint), describe(pipeline)
    if "unknown" not in (theirs.family, ours.family) and theirs.family != ours.family:
        raise BaseMismatch(
            f"the pipeline looks like {ours}; {owner} is {theirs}",
            "Load the pipeline from the version's own base.",
        )
    usable = {name: info for name, info in checkpoint.items() if info.dtype in TORCH_DTYPES}
    # A pipeline may have more tokens than the checkpoint, which then does not fill the tensor.
    sources = {
        one.tensor: one.base
        for one in map_names(usable, pipeline).correspondences
        if math.prod(one.base.resolve(usable).shape) == pipeline[one.tensor].elements
    }
    if not sources:
        raise BaseMismatch(
            f"{owner} ({theirs}) shares no tensor with the pipeline ({ours})",
            "Load the pipeline from the version's own base.",
        )
    return sources
