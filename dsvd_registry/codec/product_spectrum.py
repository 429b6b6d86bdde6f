"""The singular value decomposition of a product of two thin matrices, without the product itself.

QR decompositions of up (m, r) and of the transpose of down (r, n) leave a core matrix of at most
(r, r). Its singular values are those of the product, and its singular vectors, multiplied by the
orthogonal factors, are those of the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .components import Components
from .integer_grid import OutsideGrid


@dataclass(frozen=True)
class FactorSpectrum:
    """The singular value decomposition of a product, with k = min(m, r, n).

    `singular_values`: float64 (k,), falling; all others of the product are 0. `left` (k, m),
    `right` (k, n): the singular vectors as rows, float64.
    """

    singular_values: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, n) of the product."""
        return self.left.shape[1], self.right.shape[1]

    def balanced(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The balanced factors (U_t sqrt(S_t))^T (t, m) and sqrt(S_t) V_t^T (t, n) for t = `rank`."""
        roots = self.singular_values[:rank, None].sqrt()
        return self.left[:rank] * roots, self.right[:rank] * roots


def factor_spectrum(up: torch.Tensor, down: torch.Tensor) -> FactorSpectrum:
    """The spectrum of `up` (m, r) times `down` (r, n), both float64 and finite.

    Raises `OutsideGrid` where the product is not finite.
    """
    basis_up, core_up = torch.linalg.qr(up)
    basis_down, core_down = torch.linalg.qr(down.T)
    core = core_up @ core_down.T
    if not torch.isfinite(core).all():
        raise OutsideGrid
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    return FactorSpectrum(
        values, (basis_up @ left).T.contiguous(), (basis_down @ right.T).T.contiguous()
    )


def product_distance(a: torch.Tensor, b: torch.Tensor, components: Components) -> float:
    """The Frobenius distance of the components from a^T b; `a` (r, m) and `b` (r, n) are float64.

    No (m, n) matrix is built. With the quantised factors a + da and b + db the distance is the norm
    of da^T (b + db) + a^T db, and the squared norm of a product is the sum of the elementwise
    product of its factors' Gram matrices. No nearly equal products are subtracted, which would
    cancel.
    """
    steps = torch.exp2(torch.from_numpy(components.exponents).to(torch.float64) / 2)[:, None]
    on_grid_a = torch.from_numpy(components.a).to(torch.float64) * steps
    on_grid_b = torch.from_numpy(components.b).to(torch.float64) * steps
    left = torch.cat([on_grid_a - a, a])
    right = torch.cat([on_grid_b, on_grid_b - b])
    square = float(((left @ left.T) * (right @ right.T)).sum())
    return math.sqrt(max(0.0, square))
