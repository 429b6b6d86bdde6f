"""A low-rank delta as a pair of matrices in a file, and the loss of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..errors import InvalidArgument
from ..layouts.view import Shape
from .fold_exponents import Factors


@dataclass(frozen=True)
class Loss:
    """Squared Frobenius norms.

    `norm`: of the true delta. `lost`: of its difference from the delta in the file. `cut`,
    `rounded`: the parts of that from cut components and from rounding.
    """

    norm: float
    lost: float
    cut: float = 0.0
    rounded: float = 0.0


@dataclass(frozen=True)
class Pair:
    """A low-rank pair in the file's dtype and in the shapes of the module's kind.

    Linear: `up` (m, r), `down` (r, n). Convolution (m, n, h, w): `up` (m, r, 1, 1), `down`
    (r, n, h, w). A loader adds `alpha` / r times their product. `largest`: the largest magnitude in
    them before rounding.
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
    """Make the pair of a module of `shape` from the first `rank` components, and its loss.

    `name`: the module, for messages. Raises `InvalidArgument` if a number is too large for `dtype`.
    """
    kept = Factors(factors.a[:rank], factors.b[:rank])
    root = math.sqrt(rank / alpha)  # for most modules 1 or another power of 2: integers stay exact
    enlarged = [side * root for side in (kept.a, kept.b)]
    largest = max(float(side.abs().max()) for side in enlarged)
    a, b = (cast(side, dtype, name) for side in enlarged)
    loss = _loss(factors, rank, *((side.to(torch.float64) / root) for side in (a, b)))
    up = a.T.contiguous()
    if len(shape) == 4:
        return Pair(up[:, :, None, None], b.reshape(rank, *shape[1:]), alpha, largest), loss
    return Pair(up, b, alpha, largest), loss


def empty_pair(shape: Shape, rank: int, alpha: float, dtype: torch.dtype) -> Pair:
    """A pair for a module of `shape` that changes nothing."""
    ones = (1,) * (len(shape) - 2)
    up = torch.zeros(shape[0], rank, *ones, dtype=dtype)
    return Pair(up, torch.zeros(rank, *shape[1:], dtype=dtype), alpha)


def filled_pair(pair: Pair, rank: int) -> Pair:
    """The pair with components of zeros up to `rank`, and an alpha by which it counts as much."""
    missing = rank - pair.rank
    up = torch.cat([pair.up, pair.up.new_zeros(len(pair.up), missing, *pair.up.shape[2:])], 1)
    down = torch.cat([pair.down, pair.down.new_zeros(missing, *pair.down.shape[1:])])
    return Pair(up, down, pair.alpha * rank / pair.rank, pair.largest)


def cast(values: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """Convert values to `dtype`. Raises `InvalidArgument` if one is too large for it."""
    converted = values.to(dtype)
    if not bool(torch.isfinite(converted).all()):
        raise InvalidArgument(
            f"the change of {name!r} is too large for fp16", "Ask for fp32 (--dtype fp32)."
        )
    return converted


def _loss(factors: Factors, rank: int, a: torch.Tensor, b: torch.Tensor) -> Loss:
    """The loss, from the factors of the difference: the norms of two near products would cancel.

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
