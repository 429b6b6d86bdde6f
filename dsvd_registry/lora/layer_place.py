"""The place of a layer in a base: the tensors that contain its rows."""

from __future__ import annotations

from dataclasses import dataclass

from ..layouts import View, ViewedTensors
from ..layouts.view import WHOLE, Shape


@dataclass(frozen=True)
class LayerRows:
    """Rows of a layer, and the base tensor that contains them.

    `base`: the view of one tensor, by name, that is these rows. `rows`: a slice of the layer, or
    `WHOLE`.
    """

    base: ViewedTensors[str]
    rows: View = WHOLE

    @property
    def tensor(self) -> str:
        """The name of the tensor."""
        (name,) = self.base.tensors
        return name

    def overlaps(self, other: LayerRows) -> bool:
        """Return whether both are in the same rows of one base tensor."""
        one, two = self.base.view, other.base.view
        if self.tensor != other.tensor:
            return False
        if one.kind != "slice" or two.kind != "slice":
            return True
        return one.first < two.first + two.rows and two.first < one.first + one.rows


@dataclass(frozen=True)
class LayerPlace:
    """The rows of a layer's weight or bias in a base. `shape`: the layer's own."""

    rows: tuple[LayerRows, ...]
    shape: Shape
