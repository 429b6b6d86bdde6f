"""Float64 factors from a container's integers and exponents, split so that they fit half precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..codec.components import Components


@dataclass(frozen=True)
class Factors:
    """A delta as A^T B: float64 `a` (r, m) and `b` (r, n)."""

    a: torch.Tensor
    b: torch.Tensor


Delta = Factors | torch.Tensor  # or a float64 matrix (m, n)


def folded(components: Components) -> Factors:
    """Convert components to exact float64 factors.

    Both sides of a component get about the same norm, which keeps the smaller one as far as possible
    from fp16's subnormal numbers. The split is a power of two, so that an integer of up to 11 bits,
    as most are, stays exact in fp16.
    """
    left, right = (torch.from_numpy(one).to(torch.float64) for one in (components.a, components.b))
    total = torch.from_numpy(components.exponents).to(torch.float64)
    # No component is all zero (spec, "Component tables"), so that the logarithm is finite.
    longer = torch.log2(right.norm(dim=1) / left.norm(dim=1))
    half = ((total + longer) / 2).round()
    return Factors(left * torch.exp2(half)[:, None], right * torch.exp2(total - half)[:, None])


def decomposed(matrix: torch.Tensor) -> tuple[Factors, torch.Tensor]:
    """The SVD of a float64 matrix (m, n): balanced factors, and the falling singular values."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s.sqrt()[:, None]
    return Factors(u.T * root, v * root), s


def sufficient_rank(singular_values: torch.Tensor, dtype: torch.dtype) -> int:
    """The smallest rank, at least 1, whose truncation loses no more than rounding to `dtype`."""
    truncated = singular_values.square().flip(0).cumsum(0).flip(0)
    rounding = torch.finfo(dtype).eps / 2
    return max(1, int((truncated > rounding**2 * truncated[0]).sum()))
