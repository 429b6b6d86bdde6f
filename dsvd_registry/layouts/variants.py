"""Variants of one model side by side in a folder, such as its weights in full and in half precision.

A variant's tensors are called by the folder and the variant (`unet/model.fp16/conv.weight` beside
`unet/conv.weight`). Where a base has no such variant, they correspond to what those that the variant is
of correspond to.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..checkpoint import TensorInfo
from .name_map import Correspondence, NameMap, map_names


def map_with_variants(
    base: Mapping[str, TensorInfo],
    fine_tune: Mapping[str, TensorInfo],
    variants: Mapping[str, str],
) -> NameMap:
    """As `map_names`. `variants`: what a variant's names begin with, and those of what it is one of.

    Raises as `map_names`.
    """
    names = map_names(base, fine_tune)
    correspondences = list(names.correspondences)
    unmatched = {one.tensor: one for one in names.unmatched}
    for prefix, main in variants.items():
        alone = {
            main + name.removeprefix(prefix): info
            for name, info in fine_tune.items()
            if name.startswith(prefix)
        }
        for one in map_names(base, alone).correspondences:
            own = prefix + one.tensor.removeprefix(main)
            if own in unmatched:
                del unmatched[own]
                correspondences.append(Correspondence(own, one.base))
    return NameMap(tuple(correspondences), tuple(unmatched.values()))
