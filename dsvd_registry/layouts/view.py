"""The five views of a container, which make one array of base tensors.

The terms are those of spec/dsvd-container-v1.md, "Views". The base side of every delta
is a `ViewedTensors`: the tensors, and the view that makes one array of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, assert_never, cast, get_args

ViewKind = Literal["reshape", "transpose", "slice", "concatenate", "roll"]
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
    of one tensor from row `first`. `concatenate`: two or more tensors, joined along the rows. `roll`:
    the rows of one tensor from row `first` on, then those before it.
    """

    kind: ViewKind = "reshape"
    first: int = 0
    rows: int = 0

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of the view of tensors of these shapes."""
        first = shapes[0]
        match self.kind:
            case "reshape" | "roll":
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
            case "roll":
                return concatenate([first[self.first :], first[: self.first]])
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


Tensor_co = TypeVar("Tensor_co", covariant=True)
Known = TypeVar("Known")


class Shaped(Protocol):
    """Anything with a shape: a `TensorInfo`, a `Fingerprint`, an array."""

    @property
    def shape(self) -> Shape: ...


@dataclass(frozen=True)
class ViewedTensors(Generic[Tensor_co]):
    """One or more tensors that become one array through `view`.

    The tensors are given by name (`str`), or by what is known of each (`TensorInfo`,
    `Fingerprint`). Only the view `concatenate` has more than one.

        fused = ViewedTensors(("to_q", "to_k", "to_v"), View("concatenate"))
        fused.resolve({"to_q": ..., "to_k": ..., "to_v": ...}).shape  # (960, 320)
        fused.apply(lambda name: weights[name], numpy.concatenate)
    """

    tensors: tuple[Tensor_co, ...]
    view: View = WHOLE

    def resolve(self: ViewedTensors[str], known: Mapping[str, Known]) -> ViewedTensors[Known]:
        """The same view of the tensors that `known` has under these names.

        Raises `KeyError` for a name that `known` lacks.
        """
        return ViewedTensors(tuple(known[name] for name in self.tensors), self.view)

    @property
    def shape(self: ViewedTensors[Shaped]) -> Shape:
        """The shape of the array."""
        return self.view.shape([tensor.shape for tensor in self.tensors])

    def apply(
        self,
        read: Callable[[Tensor_co], Array],
        concatenate: Callable[[list[Array]], Array],
    ) -> Array:
        """The array, of numpy or of torch.

        Args:
            read: gives the array of one tensor.
            concatenate: the library's own function, `numpy.concatenate` or `torch.cat`.
        """
        return self.view.apply([read(tensor) for tensor in self.tensors], concatenate)
