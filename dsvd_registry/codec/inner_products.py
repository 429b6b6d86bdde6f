"""Inner products of deltas; where both are low-rank, no full matrix is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from .arithmetic import ieee_arithmetic
from .components import Components, Elements, GridDelta

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """A delta of shape (m, n) as A^T B: `a` (r, m) and `b` (r, n), both float64."""

    a: Matrix
    b: Matrix


Delta = Factors | Matrix  # a matrix may have any shape with the right number of elements


def as_floats(delta: GridDelta) -> Delta:
    """A delta in float64: factors, each with half of the powers of two, or a flat array."""
    match delta:
        case Components():
            scales: Matrix = np.exp2(delta.exponents / 2)[:, None]
            return Factors(*(side.astype(np.float64) * scales for side in (delta.a, delta.b)))
        case Elements():
            return delta.values.astype(np.float64) * 2.0**delta.exponent
        case _:
            assert_never(delta)


def inner_product(left: Delta, right: Delta) -> float:
    """The inner product of two deltas of one size: the sum of the products of their elements."""
    with ieee_arithmetic():
        if isinstance(left, Factors) and isinstance(right, Factors):
            return float(((left.a @ right.a.T) * (left.b @ right.b.T)).sum())
        if isinstance(left, Factors):
            assert not isinstance(right, Factors)
            matrix = right.reshape(left.a.shape[1], left.b.shape[1])
            return float(((left.a @ matrix) * left.b).sum())
        if isinstance(right, Factors):
            return inner_product(right, left)
        return float((left * right).sum())


@dataclass(frozen=True)
class Comparison:
    """The difference of two deltas.

    `distance`: |left - right| over the larger norm. `cosine`: of the angle between them.
    """

    left_norm: float
    right_norm: float
    distance: float
    cosine: float


def compare(left_square: float, right_square: float, inner: float) -> Comparison:
    """Compare two deltas by their squared norms and their inner product.

    If both deltas are zero, the distance is 0 and the cosine is 1.
    """
    square = max(0.0, left_square + right_square - 2 * inner)
    largest = max(left_square, right_square)
    smallest = min(left_square, right_square)
    cosine = inner / math.sqrt(smallest) / math.sqrt(largest) if smallest else float(not largest)
    return Comparison(
        left_norm=math.sqrt(left_square),
        right_norm=math.sqrt(right_square),
        distance=math.sqrt(square / largest) if largest else 0.0,
        cosine=max(-1.0, min(1.0, cosine)),
    )
