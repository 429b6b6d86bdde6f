"""Where a layer stands in a base: which rows of it are which rows of which tensors."""

from __future__ import annotations

from dataclasses import dataclass

from ..layouts import View
from ..layouts.view import Shape

WHOLE = View()


@dataclass(frozen=True)
class Piece:
    """Rows of a layer that are in one tensor of the base.

    `part`: those rows of the layer, a slice, or all of it. `view`: the tensor's own, which hold them.
    """

    tensor: str
    view: View
    part: View = WHOLE

    def overlaps(self, other: Piece) -> bool:
        """Whether both are of the same weights."""
        one, two = self.view, other.view
        if self.tensor != other.tensor:
            return False
        if one.kind != "slice" or two.kind != "slice":
            return True
        return one.first < two.first + two.rows and two.first < one.first + one.rows


@dataclass(frozen=True)
class Place:
    """A layer's weight or bias: the pieces that it is in. `shape`: the layer's own."""

    pieces: tuple[Piece, ...]
    shape: Shape
