"""Singular values of a delta: by the small-side Gram matrix, by a full SVD where that cannot decide.

An energy takes all singular values, and a record the vectors of the largest few: the Gram matrix is
made tridiagonal once, and gives the one and the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .lapack import NotConverged, Tridiagonal, tridiagonalize
from .products import gram, product
from .rank import energy, tau_rank

UNIT = 2.0**-53  # half the spacing of float64 at 1
ENERGY_TOLERANCE = 5e-5  # how well E(t) must be known where it decides a rank
RUN = 2048  # of the long side, multiplied at a time on a device
# How far rounding of products in float32, of runs summed in float64, is taken to move an eigenvalue,
# in the largest one. Of trained deltas none was seen to move by more than 2^-28. That is measured and
# not a bound: the norm of the rounding, which is one, was up to 2^-22.6 for pure noise, spread over
# all directions.
SINGLE_DOUBT = 2.0**-24
SINGLE_FROM = 512  # rows of a Gram matrix: of smaller ones little is to be saved

# How far from orthonormal vectors of each precision may be. An error of the projection is across
# what truncation leaves, and adds by its square.
ORTHONORMAL: dict[type[np.float32 | np.float64], float] = {np.float32: 1e-4, np.float64: 1e-9}

Vectors = Callable[[int], torch.Tensor]


@dataclass(frozen=True)
class Spectrum:
    """All singular values of an (m, n) matrix, and the singular vectors of one side.

    `singular_values`: float64 (min(m, n),), falling, on the CPU. `vectors(t)`: (m, t) of the left
    side, or (n, t) of the right where `transposed`, on the matrix's device and of its dtype.
    """

    singular_values: torch.Tensor
    vectors: Vectors
    transposed: bool

    def reaching(self, rank: int) -> Spectrum:
        """The same, with the first `rank` vectors worked out once for all."""
        held = self.vectors(rank)
        return replace(self, vectors=lambda count: held[:, :count])

    def factors(self, matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A = U_t sqrt(S_t) as (t, m) and B = sqrt(S_t) V_t^T as (t, n), for t = `rank`.

        On the CPU, in the matrix's dtype. The second factor is one product of the vectors with
        `matrix`, so A^T B is its orthogonal projection, however well the singular values are known.
        """
        vectors = self.vectors(rank)
        if self.transposed:
            other = _product(matrix, vectors).T.contiguous()
        else:
            other = _product(vectors.T, matrix)
        roots = torch.linalg.vector_norm(other, dim=1).sqrt()[:, None]
        one, two = (vectors.T * roots).cpu(), other.div_(roots).cpu()
        return (two, one) if self.transposed else (one, two)


def spectrum(matrix: torch.Tensor, *taus: float) -> Spectrum:
    """The spectrum of `matrix`, (m, n), known well enough to decide the rank for each of `taus`.

    Float64, or float32 with a largest magnitude that is neither tiny nor huge. Its elements are
    differences of float32 numbers, or as small and large as those: their squares neither overflow
    nor vanish in float64.
    """
    transposed = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if transposed else matrix
    for dtype, doubt in _precisions(wide):
        eigenvalues, vectors = _eigen(_gram(wide, dtype), wide.dtype)
        doubts = doubt * float(eigenvalues[0])
        if all(_gram_decides(eigenvalues, matrix.shape, tau, doubts) for tau in taus):
            return Spectrum(eigenvalues.clamp_min(0).sqrt(), vectors, transposed)
    left, values, _ = torch.linalg.svd(wide.to(torch.float64), full_matrices=False)
    return Spectrum(values.cpu(), lambda count: left[:, :count].to(wide.dtype), transposed)


def _precisions(wide: torch.Tensor) -> Iterator[tuple[torch.dtype, float]]:
    """Types for the products, the quickest first, and how much of the largest eigenvalue each may
    cost another: rounding of the solver, and of sums as long as the long side."""
    if wide.dtype == torch.float32 and len(wide) >= SINGLE_FROM:
        yield torch.float32, SINGLE_DOUBT
    yield torch.float64, (len(wide) + math.sqrt(wide.shape[1])) * UNIT


def _gram(wide: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`wide` times its transpose, float64 (k, k), from products of runs of columns in `dtype`.

    Only the upper triangle counts.
    """
    if wide.device.type == "cpu":
        return gram(wide, dtype)
    sums = torch.zeros(len(wide), len(wide), dtype=torch.float64, device=wide.device)
    for first in range(0, wide.shape[1], RUN):
        run = wide[:, first : first + RUN].to(dtype)
        sums += run @ run.T
    return sums


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return product(a, b) if a.device.type == "cpu" else a @ b


def _eigen(square: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, Vectors]:
    """All eigenvalues, falling, on the CPU, and the vectors of as many as are asked for, in `dtype`."""
    if square.device.type == "cpu":
        try:
            reduced = tridiagonalize(square.numpy().copy())
            values = torch.from_numpy(reduced.eigenvalues()[::-1].copy())
            return values, lambda count: _staged_vectors(reduced, square, count, dtype)
        except NotConverged:
            pass
    eigenvalues, eigenvectors = torch.linalg.eigh(square, UPLO="U")
    return eigenvalues.flip(0).cpu(), lambda count: eigenvectors.flip(1)[:, :count].to(dtype)


def _staged_vectors(
    reduced: Tridiagonal, square: torch.Tensor, count: int, dtype: torch.dtype
) -> torch.Tensor:
    """Worked out in single precision where that is `dtype`, if they come out well, or in double."""
    for working, bound in ORTHONORMAL.items():
        if working == np.float32 and (dtype != torch.float32 or len(square) < SINGLE_FROM):
            continue
        try:
            vectors = torch.from_numpy(reduced.top_eigenvectors(count, working).copy())
            if _off_orthonormal(vectors) < bound:
                return vectors.to(dtype)
        except NotConverged:
            pass
    eigenvectors: torch.Tensor = torch.linalg.eigh(square, UPLO="U")[1]
    return eigenvectors.flip(1)[:, :count].to(dtype)


def _off_orthonormal(vectors: torch.Tensor) -> float:
    """The largest of the elements of V^T V - 1."""
    products = product(vectors.T, vectors)
    products.diagonal().sub_(1.0)
    return float(products.abs().max())


def _gram_decides(eigenvalues: torch.Tensor, shape: torch.Size, tau: float, doubt: float) -> bool:
    """Whether the Gram matrix's eigenvalues, each off by at most `doubt`, leave no doubt of the rank.

    A singular value near zero is off by the root of `doubt`. The energies of the least and the
    largest possible values must agree on the rank, or to `ENERGY_TOLERANCE`.
    """
    if tau == 1:
        threshold = math.sqrt(float(eigenvalues[0])) * max(shape) * 2.0**-52
        return float(eigenvalues[-1]) - doubt > threshold**2
    least = (eigenvalues - doubt).clamp_min(0).sqrt()
    most = (eigenvalues + doubt).clamp_min(0).sqrt()
    total = float(most.sum())
    if float((most - least).sum()) <= ENERGY_TOLERANCE * total:
        return True
    rank = tau_rank(most, tau, tuple(shape))
    low = float(least[:rank].sum()) / total
    high = energy(most, rank - 1) * total / max(float(least.sum()), UNIT)
    return low >= tau and high < tau
