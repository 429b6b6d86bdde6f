"""Inner products of deltas from their factors; no full matrix is built where both are low-rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from .components import Components, Elements, GridDelta
from .exact_product import ieee_arithmetic

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """A delta as A^T B: float64 `a` (r, m) and `b` (r, n)."""

    a: Matrix
    b: Matrix


Delta = Factors | Matrix  # or float64 numbers, (m, n) or of any shape of as many


def as_floats(delta: GridDelta) -> Delta:
    """The numbers of a delta: factors with their exponents folded in, half on each side, or a flat
    array."""
    match delta:
        case Components():
            scales: Matrix = np.exp2(delta.exponents / 2)[:, None]
            return Factors(*(side.astype(np.float64) * scales for side in (delta.a, delta.b)))
        case Elements():
            return delta.values.astype(np.float64) * 2.0**delta.exponent
        case _:
            assert_never(delta)


def inner_product(left: Delta, right: Delta) -> float:
    """<left, right> = sum of the products of the elements of two deltas of one size."""
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
    """How two deltas differ. `distance`: |left - right| over the larger norm; `cosine`: of the angle."""

    left_norm: float
    right_norm: float
    distance: float
    cosine: float


def compare(left_square: float, right_square: float, inner: float) -> Comparison:
    """From the squared norms of two deltas and their inner product.

    Where nothing changed on either side the distance is 0 and the cosine 1.
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
