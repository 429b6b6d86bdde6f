"""The counterpart of a tensor: the bytes of one or more base tensors, seen through a view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from ..checkpoint.checkpoint import Copier, Memory
from ..checkpoint.tensor_info import tensor_bytes
from ..container.records import BaseTensor
from ..layouts import ViewedTensors
from .base_weights import BaseReader


@dataclass(frozen=True)
class _Piece:
    """`size` bytes of a base tensor, from offset `start` on; `copy` copies from that tensor."""

    copy: Copier
    start: int
    size: int


class ViewedBase:
    """Tensors of a base, seen through a view as one array, whose C-order bytes are copied in runs.

    `nbytes`: the memory that it takes. The constructor may raise `BaseMismatch`. Several threads may
    copy at once.
    """

    def __init__(self, viewed: ViewedTensors[BaseTensor], base: BaseReader) -> None:
        self._tensors, self._base = viewed.tensors, base
        self.nbytes = 0
        view, first = viewed.view, viewed.tensors[0]
        size = first.nbytes
        match view.kind:
            case "transpose":
                width = tensor_bytes(first.dtype, (1,))
                transposed = _transposed(base.read(first), first.shape, width)
                self.nbytes = size
                self._pieces = [_Piece(transposed, 0, size)]
            case "slice":
                row = size // first.shape[0]
                piece = _Piece(base.copier(first), view.first * row, view.rows * row)
                self._pieces = [piece]
            case "roll":
                copy, head = base.copier(first), view.first * (size // first.shape[0])
                self._pieces = [_Piece(copy, head, size - head), _Piece(copy, 0, head)]
            case "reshape" | "concatenate":
                self._pieces = [_Piece(base.copier(one), 0, one.nbytes) for one in viewed.tensors]
            case _:
                assert_never(view.kind)

    def copy(self, first: int, memory: Memory) -> None:
        """Fill `memory` with the bytes from offset `first` on."""
        for piece in self._pieces:
            size = min(len(memory), max(0, piece.size - first))
            if size:
                piece.copy(piece.start + first, memory[:size])
            memory, first = memory[size:], max(0, first - piece.size)

    def release(self) -> None:
        """Return the memory of the base tensors to the system; copies stay valid."""
        for tensor in self._tensors:
            self._base.release(tensor)


def _transposed(data: memoryview, shape: tuple[int, ...], width: int) -> Copier:
    """A function that copies bytes of a transposed matrix with elements of `width` bytes."""

    def copy(first: int, memory: Memory) -> None:
        # Called only if there are bytes, so no dimension is 0.
        matrix = np.frombuffer(data, f"u{width}").reshape(shape).T
        row = matrix.shape[1] * width
        begin, end = first // row, -(-(first + len(memory)) // row)
        rows = np.ascontiguousarray(matrix[begin:end]).reshape(-1).view(np.uint8)
        memory[:] = rows[first - begin * row :][: len(memory)]

    return copy
