"""Measured errors of a delta on the grid, with the result as it will be read back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .exact_product_torch import DeltaProduct, add_tile, apply_dense
from .tensor_pair import Pair, blocks, square_sum
from .torch_tensors import scratch_tensor


@dataclass(frozen=True)
class Distance:
    """Frobenius distances of the delta from the true one, and of the rounded result from the source.

    Neither is finite if the result is not.
    """

    delta: float
    result: float


def distance(pair: Pair, product: DeltaProduct) -> Distance:
    """Measure the errors of a delta that is stored as components, a tile at a time."""
    squares = [0.0, 0.0]
    columns = pair.delta.shape[1]
    for first, end in pair.tiles():
        memory = scratch_tensor("distance", (end - first, columns), product.path)
        tile = product.tile(first, end, memory)
        sides = (side[first:end] for side in (pair.delta, pair.base, pair.source))
        for part, delta, base, source in blocks(tile, *sides):
            squares[0] += square_sum(delta - part)
            squares[1] += _square_between(add_tile(base, part, source.dtype), source)
    return Distance(*(math.sqrt(square) for square in squares))


def dense_distance(pair: Pair, values: npt.NDArray[np.int32], exponent: int) -> float:
    """The Frobenius distance from the source of the result of a dense delta."""
    result = apply_dense(pair.base, values, exponent, pair.source.dtype)
    return math.sqrt(_square_between(result, pair.source))


def _square_between(result: torch.Tensor, source: torch.Tensor) -> float:
    wide = torch.promote_types(result.dtype, torch.float32)
    difference = result.to(wide) - source.to(wide)
    # Two finite float32 numbers may be further apart than float32 reaches.
    square = square_sum(difference)
    if math.isfinite(square):
        return square
    return square_sum(result.to(torch.float64) - source.to(torch.float64))
