"""Families and layouts of checkpoints, and the tensors of one that correspond to those of another.

    from dsvd_registry.layouts import describe, map_names
    print(describe(fine_tune.tensors))  # Stable Diffusion XL, original layout
    names = map_names(base.tensors, fine_tune.tensors)

Only names, dtypes and shapes are used. Importing this imports neither torch nor diffusers. Only
`map_names` does when it is called, and only for two sub-models in different layouts.
"""

from .families import Description, check_same_family, describe
from .name_map import (
    Correspondence,
    NameMap,
    NoDelta,
    Unmatched,
    can_be_same,
    goes_with_quantised,
    lacks_delta,
    map_names,
    map_with_variants,
)
from .view import View, ViewedTensors
from .wrappers import wrappers_in

__all__ = [
    "Correspondence",
    "Description",
    "NameMap",
    "NoDelta",
    "Unmatched",
    "View",
    "ViewedTensors",
    "can_be_same",
    "check_same_family",
    "describe",
    "goes_with_quantised",
    "lacks_delta",
    "map_names",
    "map_with_variants",
    "wrappers_in",
]
