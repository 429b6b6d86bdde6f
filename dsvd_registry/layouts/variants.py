"""Variants of one model in a folder, such as its weights in full and in half precision.

The name of a variant's tensor has the folder and the variant: `unet/model.fp16/conv.weight` is a
variant of `unet/conv.weight`. If the base has no such variant, both correspond to the same tensors of
the base.
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
    """Map names as `map_names` does, and those of variants like the weights that they vary.

    `variants`: the prefix of the main weights' names, by the prefix of the variant's.
    Raises as `map_names` does.
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
