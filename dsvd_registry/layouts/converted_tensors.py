"""The inverse of diffusers' conversion: the original tensor, as a view of the converted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoint import TensorInfo
from .view import Shape, View, ViewedTensors


@dataclass(frozen=True)
class ConvertedTensor:
    """A tensor that diffusers' conversion makes, by `view`, of one tensor in the original layout."""

    info: TensorInfo
    view: View


def original_of(converted: Sequence[ConvertedTensor], shape: Shape) -> ViewedTensors[str] | None:
    """The view of the converted tensors that gives the original tensor of `shape` back.

    Returns None if they are not all of it, or if a container cannot join them (two dtypes).
    """
    for one in converted:
        if one.view.kind == "reshape" or (
            one.view.kind == "transpose" and len(one.info.shape) == 2
        ):
            return ViewedTensors((one.info.name,), one.view)  # the view is its own inverse
        if one.view.kind == "roll" and one.info.shape == shape:
            return ViewedTensors((one.info.name,), View("roll", shape[0] - one.view.first))
    slices = sorted(converted, key=lambda one: one.view.first)
    end = 0
    for one in slices:
        if one.view.first != end or one.info.shape[:1] != (one.view.rows,):
            return None
        end += one.view.rows
    kinds = {(one.info.dtype, one.info.shape[1:]) for one in slices}
    if shape[:1] != (end,) or len(kinds) != 1:
        return None
    return ViewedTensors(tuple(one.info.name for one in slices), View("concatenate"))
