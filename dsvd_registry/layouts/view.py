"""The four views of a container, which make one array of base tensors.

The terms are those of spec/dsvd-container-v1.md, "Base tensors and views".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, assert_never, cast, get_args

ViewKind = Literal["reshape", "transpose", "slice", "concatenate"]
VIEW_KINDS: tuple[ViewKind, ...] = get_args(ViewKind)
Shape = tuple[int, ...]


class Sliceable(Protocol):
    """The operations of a numpy array or torch tensor that views need."""

    @property
    def T(self) -> Any: ...  # noqa: N802 - their own name for it
    def __getitem__(self, rows: slice, /) -> Any: ...


Array = TypeVar("Array", bound=Sliceable)


@dataclass(frozen=True)
class View:
    """A view of one or more tensors.

    `reshape`: one tensor as it is. `transpose`: one 2-D tensor, transposed. `slice`: `rows` rows
    of one tensor from row `first`. `concatenate`: two or more tensors, joined along the rows.
    """

    kind: ViewKind = "reshape"
    first: int = 0
    rows: int = 0

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of the view of tensors of these shapes."""
        first = shapes[0]
        match self.kind:
            case "reshape":
                return first
            case "transpose":
                return first[::-1]
            case "slice":
                return (self.rows, *first[1:])
            case "concatenate":
                return (sum(shape[0] for shape in shapes), *first[1:])
            case _:
                assert_never(self.kind)

    def apply(self, tensors: Sequence[Array], concatenate: Callable[[list[Array]], Array]) -> Array:
        """The view of numpy or torch arrays; `concatenate` is the library's own function."""
        first = tensors[0]
        match self.kind:
            case "reshape":
                return first
            case "transpose":
                return cast(Array, first.T)
            case "slice":
                return cast(Array, first[self.first : self.first + self.rows])
            case "concatenate":
                return concatenate(list(tensors))
            case _:
                assert_never(self.kind)


WHOLE = View()
"""One tensor as it is."""


def fits(viewed: Shape, shape: Shape) -> bool:
    """Return whether a tensor of `shape` has a delta to an array of the shape `viewed`.

    Dimensions of 1 do not count (a 1x1 convolution and a linear layer), and the tensor may have more
    rows at its end (added tokens). The same number of elements is not enough: (10, 20) and (20, 10)
    are not one layer.
    """
    if is_alike(viewed, shape):
        return True
    return 0 < len(shape) == len(viewed) and shape[1:] == viewed[1:] and shape[0] > viewed[0] > 0


def is_alike(viewed: Shape, shape: Shape) -> bool:
    """Return whether the two shapes are equal without their dimensions of 1."""
    return [length for length in viewed if length != 1] == [
        length for length in shape if length != 1
    ]
