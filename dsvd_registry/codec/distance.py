"""How far a delta on the grid is from the true one, measured on what will be read back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .exact import DeltaProduct, add_tile, apply_dense
from .pair import Pair, square_sum


@dataclass(frozen=True)
class Distance:
    """Frobenius distances: of the delta from the true one, of the rounded result from the source.

    Neither is finite where the result is not.
    """

    delta: float
    result: float


def distance(pair: Pair, product: DeltaProduct) -> Distance:
    """Of the sum of components, a tile at a time."""
    squares = [0.0, 0.0]
    for first, end in pair.tiles():
        tile = product.tile(first, end)
        result = add_tile(pair.base[first:end], tile, pair.source.dtype)
        squares[0] += square_sum(pair.delta[first:end] - tile)
        squares[1] += _square_between(result, pair.source[first:end])
    return Distance(*(math.sqrt(square) for square in squares))


def dense_distance(pair: Pair, values: npt.NDArray[np.int32], exponent: int) -> float:
    """Of the result with an integer for each element, times 2^exponent, from the source."""
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
