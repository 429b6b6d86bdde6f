"""The spectrum of a product of two thin matrices, found without the product.

For up (m, r) and down (r, n): QR of up and of down's transpose leave a core of at most (r, r) whose
singular values are the product's; its singular vectors, turned back, are too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .components import Components
from .integer_grid import OutsideGrid


@dataclass(frozen=True)
class FactorSpectrum:
    """`singular_values`: float64 (k,), falling, k = min(m, r, n); all others are 0.

    `left` (k, m) and `right` (k, n), float64: the singular vectors, each a row.
    """

    singular_values: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    def balanced(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A = U_t sqrt(S_t) as (t, m) and B = sqrt(S_t) V_t^T as (t, n), for t = `rank`."""
        roots = self.singular_values[:rank, None].sqrt()
        return self.left[:rank] * roots, self.right[:rank] * roots


def factor_spectrum(up: torch.Tensor, down: torch.Tensor) -> FactorSpectrum:
    """The spectrum of `up` (m, r) times `down` (r, n), both float64 and finite.

    Raises `OutsideGrid` where the product is not finite.
    """
    turned_up, core_up = torch.linalg.qr(up)
    turned_down, core_down = torch.linalg.qr(down.T)
    core = core_up @ core_down.T
    if not torch.isfinite(core).all():
        raise OutsideGrid
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    return FactorSpectrum(
        values, (turned_up @ left).T.contiguous(), (turned_down @ right.T).T.contiguous()
    )


def product_distance(a: torch.Tensor, b: torch.Tensor, components: Components) -> float:
    """The Frobenius distance of the components from a^T b, float64 (r, m) and (r, n).

    Of factors alone: with the grid's a + da and b + db it is the norm of da^T (b + db) + a^T db, and
    that of a product is the sum of the products of its factors' Gram matrices. Differences of like
    numbers do not come into it.
    """
    steps = torch.exp2(torch.from_numpy(components.exponents).to(torch.float64) / 2)[:, None]
    on_grid_a = torch.from_numpy(components.a).to(torch.float64) * steps
    on_grid_b = torch.from_numpy(components.b).to(torch.float64) * steps
    left = torch.cat([on_grid_a - a, a])
    right = torch.cat([on_grid_b, on_grid_b - b])
    square = float(((left @ left.T) * (right @ right.T)).sum())
    return math.sqrt(max(0.0, square))
