"""The conversion backwards: a tensor in the original layout from what diffusers makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoint import TensorInfo
from .view import Shape, View


@dataclass(frozen=True)
class Piece:
    """A tensor `made` by diffusers' conversion, through `view`, of the tensor that is looked for."""

    made: TensorInfo
    view: View


def joined(pieces: Sequence[Piece], shape: Shape) -> tuple[tuple[str, ...], View] | None:
    """The names of the tensors, and their view, that give back the tensor of `shape`.

    None if the pieces are not all of it, or if a container cannot join them (two dtypes).
    """
    for piece in pieces:
        if piece.view.kind == "reshape" or (
            piece.view.kind == "transpose" and len(piece.made.shape) == 2
        ):
            return (piece.made.name,), piece.view  # each is its own opposite
    slices = sorted(pieces, key=lambda piece: piece.view.first)
    end = 0
    for piece in slices:
        if piece.view.first != end or piece.made.shape[:1] != (piece.view.rows,):
            return None
        end += piece.view.rows
    kinds = {(piece.made.dtype, piece.made.shape[1:]) for piece in slices}
    if shape[:1] != (end,) or len(kinds) != 1:
        return None
    return tuple(piece.made.name for piece in slices), View("concatenate")
