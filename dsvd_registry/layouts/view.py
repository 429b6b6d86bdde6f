"""How tensors of a base become one tensor of a fine-tune: a container's four views, as plain values.

The words are those of spec/dsvd-container-v1.md, "Base tensors and views".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, assert_never, cast, get_args

ViewKind = Literal["reshape", "transpose", "slice", "concatenate"]
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)
Shape = tuple[int, ...]


class Sliceable(Protocol):
    """An array of numpy or of torch, as far as views are concerned."""

    @property
    def T(self) -> Any: ...  # noqa: N802 - their own name for it
    def __getitem__(self, rows: slice, /) -> Any: ...


Array = TypeVar("Array", bound=Sliceable)


@dataclass(frozen=True)
class View:
    """`reshape`: one tensor as it is. `transpose`: one 2-D tensor, transposed. `slice`: `rows` rows
    of one tensor from row `first`. `concatenate`: two or more tensors, one after another."""

    kind: ViewKind = "reshape"
    first: int = 0
    rows: int = 0

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of the array that the view makes of tensors of these shapes."""
        one = shapes[0]
        match self.kind:
            case "reshape":
                return one
            case "transpose":
                return one[::-1]
            case "slice":
                return (self.rows, *one[1:])
            case "concatenate":
                return (sum(shape[0] for shape in shapes), *one[1:])
            case _:
                assert_never(self.kind)

    def apply(self, tensors: Sequence[Array], concatenate: Callable[[list[Array]], Array]) -> Array:
        """What the view makes of arrays of numpy or of torch; `concatenate` is that library's own."""
        one = tensors[0]
        match self.kind:
            case "reshape":
                return one
            case "transpose":
                return cast(Array, one.T)
            case "slice":
                return cast(Array, one[self.first : self.first + self.rows])
            case "concatenate":
                return concatenate(list(tensors))
            case _:
                assert_never(self.kind)


WHOLE = View()
"""One tensor as it is."""


def fits(viewed: Shape, shape: Shape) -> bool:
    """Return whether a tensor of `shape` has a delta to an array of the shape `viewed`.

    Dimensions of 1 may be added or left out (a 1x1 convolution and a linear layer), and rows may
    follow that the base lacks (added tokens). The same number of elements is not enough: (10, 20)
    and (20, 10) are not one layer.
    """
    if is_alike(viewed, shape):
        return True
    return 0 < len(shape) == len(viewed) and shape[1:] == viewed[1:] and shape[0] > viewed[0] > 0


def is_alike(viewed: Shape, shape: Shape) -> bool:
    """Return whether the two are one shape but for dimensions of 1."""
    return [length for length in viewed if length != 1] == [
        length for length in shape if length != 1
    ]
