"""Tensors and the view that makes one array of them: the base side of every delta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .view import WHOLE, Array, Shape, View

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
