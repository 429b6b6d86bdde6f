"""Inner products of deltas from their factors; no full matrix is built where both are low-rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .exact import Components, ieee_arithmetic


@dataclass(frozen=True)
class Factors:
    """A delta as A^T B: float64 `a` (r, m) and `b` (r, n)."""

    a: torch.Tensor
    b: torch.Tensor


Delta = Factors | torch.Tensor  # or a float64 matrix (m, n)


def factors(components: Components) -> Factors:
    """The components with their exponents folded in, half on each side."""
    scales = torch.from_numpy(np.exp2(components.exponents / 2))[:, None]
    a, b = (torch.from_numpy(side).to(torch.float64) for side in (components.a, components.b))
    return Factors(a * scales, b * scales)


def inner_product(left: Delta, right: Delta) -> float:
    """<left, right> = sum of the products of the elements of two (m, n) deltas."""
    with ieee_arithmetic(torch.device("cpu")):
        if isinstance(left, Factors) and isinstance(right, Factors):
            return float(((left.a @ right.a.T) * (left.b @ right.b.T)).sum())
        if isinstance(left, Factors):
            assert isinstance(right, torch.Tensor)
            return float(((left.a @ right) * left.b).sum())
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
