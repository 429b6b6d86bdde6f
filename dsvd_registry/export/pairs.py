"""A low-rank delta as the pair of matrices that a file holds, and how far that is from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..errors import InvalidArgument
from ..layouts.view import Shape
from .fold_exponents import Factors


@dataclass(frozen=True)
class Loss:
    """Squared Frobenius norms: of the true delta, of what a file lacks of it, and of that what is
    due to cut components and what to rounding."""

    norm: float
    lost: float
    cut: float = 0.0
    rounded: float = 0.0


@dataclass(frozen=True)
class Pair:
    """`up` and `down` in the file's dtype and in the shapes of the module's kind.

    Linear: (m, r) and (r, n). Convolution of (m, n, h, w): (m, r, 1, 1) and (r, n, h, w). The loader
    adds `alpha` / r times their product. `largest`: of their numbers, before they were rounded.
    """

    up: torch.Tensor
    down: torch.Tensor
    alpha: float
    largest: float = 0.0

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def make_pair(
    factors: Factors, rank: int, shape: Shape, alpha: float, dtype: torch.dtype, name: str
) -> tuple[Pair, Loss]:
    """The first `rank` components as a module of `shape`, in `dtype`. `name` is for the message.

    Raises `InvalidArgument` where a number is too large for `dtype`.
    """
    kept = Factors(factors.a[:rank], factors.b[:rank])
    root = math.sqrt(rank / alpha)  # a power of 2 of most, mostly 1: then integers stay exact
    enlarged = [side * root for side in (kept.a, kept.b)]
    largest = max(float(side.abs().max()) for side in enlarged)
    a, b = (cast(side, dtype, name) for side in enlarged)
    loss = _loss(factors, rank, *((side.to(torch.float64) / root) for side in (a, b)))
    up = a.T.contiguous()
    if len(shape) == 4:
        return Pair(up[:, :, None, None], b.reshape(rank, *shape[1:]), alpha, largest), loss
    return Pair(up, b, alpha, largest), loss


def empty_pair(shape: Shape, alpha: float, dtype: torch.dtype) -> Pair:
    """A pair of rank 1 for a linear layer of `shape` that changes nothing."""
    return Pair(torch.zeros(shape[0], 1, dtype=dtype), torch.zeros(1, shape[1], dtype=dtype), alpha)


def cast(values: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """`values` in `dtype`. Raises `InvalidArgument` where one is too large for it."""
    found = values.to(dtype)
    if not bool(torch.isfinite(found).all()):
        raise InvalidArgument(
            f"the change of {name!r} is too large for fp16", "Ask for fp32 (--dtype fp32)."
        )
    return found


def _loss(factors: Factors, rank: int, a: torch.Tensor, b: torch.Tensor) -> Loss:
    """From the factors of the difference itself: of two near products, norms would cancel.

    a b - a' b' = (a - a') b + a' (b - b').
    """
    kept_a, kept_b = factors.a[:rank], factors.b[:rank]
    left = torch.cat([kept_a - a, a, factors.a[rank:]])
    right = torch.cat([kept_b, kept_b - b, factors.b[rank:]])
    products = (left @ left.T) * (right @ right.T)
    whole = ((factors.a @ factors.a.T) * (factors.b @ factors.b.T)).sum()
    end = 2 * rank
    lost, cut, rounded = products.sum(), products[end:, end:].sum(), products[:end, :end].sum()
    return Loss(*(max(0.0, float(square)) for square in (whole, lost, cut, rounded)))
