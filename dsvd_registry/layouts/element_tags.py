"""Tensors without weights whose elements can be traced through torch's view operations.

All are views of one meta tensor, one after another. The address in it identifies an element, and
torch keeps track of it (offset, shape and strides) through slicing, chunking, reshaping and
transposing. Nothing is stored and nothing moves, so that a model of 10 GB costs no more than a tiny
one. Copies would lose the address; inside `copies_are_views` they return the tensor itself. An
operation that makes new numbers, or joins tensors, gives a tensor that `source_of` does not know.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .view import Shape, View, ViewedTensors


class copies_are_views(TorchFunctionMode):  # noqa: N801 - used as a `with` statement reads
    """A context in which `clone` and `contiguous` return their argument instead of a copy."""

    _COPIES = (torch.Tensor.clone, torch.Tensor.contiguous, torch.clone)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Stand in for `func`: torch calls this instead."""
        return args[0] if func in self._COPIES else func(*args, **(kwargs or {}))


class TaggedTensors:
    """Tagged tensors of given shapes: `tensors` has them by name, `source_of` traces a result back."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._names = list(shapes)
        self._shapes = list(shapes.values())
        self._starts = []
        # Address 0 stays empty: foreign tensors begin there.
        end = 1
        for shape in self._shapes:
            self._starts.append(end)
            end += max(1, math.prod(shape))
        self._size = end
        memory = torch.empty(end, dtype=torch.uint8, device="meta")
        self.tensors = {
            name: memory[start : start + math.prod(shape)].view(shape)
            for name, shape, start in zip(self._names, self._shapes, self._starts, strict=True)
        }

    def source_of(self, tensor: torch.Tensor) -> ViewedTensors[str] | None:
        """Find the tagged tensor that `tensor` is a view of.

        Returns None if it is not one view of one of these tensors.
        """
        start = int(tensor.storage_offset())
        elsewhere = tensor.untyped_storage().nbytes() != self._size
        if elsewhere or start == 0 or not tensor.is_meta or tensor.numel() == 0:
            return None
        index = bisect_right(self._starts, start) - 1
        shape = self._shapes[index]
        view = _view(shape, tensor, start - self._starts[index])
        return None if view is None else ViewedTensors((self._names[index],), view)


def _view(shape: Shape, tensor: torch.Tensor, first: int) -> View | None:
    """The view of a tensor of `shape` that is `tensor`, whose first element is number `first`."""
    if tensor.is_contiguous():
        if tensor.numel() == math.prod(shape):
            return View()
        row = math.prod(shape[1:])
        if first % row or tensor.numel() % row:
            return None
        return View("slice", first // row, tensor.numel() // row)
    if tensor.ndim == len(shape) == 2 and tensor.shape == shape[::-1] and tensor.T.is_contiguous():
        return View("transpose")
    return None
