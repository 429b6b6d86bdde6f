"""The options of `Registry.merge`, and its recipe in the settings of a version."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from .. import canonical
from ..container.header import recipe_object
from ..container.records import MergeRecipe

KEY = "merge"  # of the recipe in a version's settings


@dataclass(frozen=True)
class LayerWeight:
    """A factor for the weights of some layers in a merge.

    `pattern`: a shell pattern of tensor names (`unet.up_blocks.*`) or of layer groups (`up`,
    `text encoder`). `ref`: the only version that it is for; None for all.
    """

    pattern: str
    weight: float
    ref: str | None = None


class MergeOptions(TypedDict, total=False):
    """The options of `Registry.merge`.

    At most one of `tau` and `max_error` is given.
    """

    tau: float | None
    """The energy in (0, 1] that each layer of the sum keeps; default 1: the whole sum."""
    max_error: float | None
    """Largest relative Frobenius error in (0, 1) to the exact sum, reached in the fewest bytes."""
    layers: Iterable[LayerWeight]
    """Factors for the weights of some layers. Of several that match a tensor the last one counts."""
    take_from: str | None
    """The version whose tensors are taken where versions differ in what cannot be added up."""
    note: str
    """A note on the version, at most 65,536 characters."""
    tags: Iterable[str]
    """Tags of the version."""


def with_recipe(settings: str, recipe: MergeRecipe | None) -> str:
    """The settings (canonical JSON) with the recipe of a merge; unchanged without one."""
    if recipe is None:
        return settings
    return canonical.encode_small({**json.loads(settings), KEY: recipe_object(recipe)}).decode()
