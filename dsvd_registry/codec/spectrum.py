"""Singular values of a delta: by the small-side Gram matrix, by a full SVD where that cannot decide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .rank import energy, tau_rank

UNIT = 2.0**-53  # half the spacing of float64 at 1
ENERGY_TOLERANCE = 5e-5  # how well E(t) must be known where it decides a rank


@dataclass(frozen=True)
class Spectrum:
    """All singular values of an (m, n) matrix, and the singular vectors of one side.

    `singular_values`: float64 (min(m, n),), falling. `vectors`: float64 (m, min) of the left side,
    or (n, min) of the right where `transposed`.
    """

    singular_values: torch.Tensor
    vectors: torch.Tensor
    transposed: bool

    def factors(self, matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A = U_t sqrt(S_t) as (t, m) and B = sqrt(S_t) V_t^T as (t, n), float64, for t = `rank`.

        The second factor is one product of the vectors with `matrix`, so A^T B is the orthogonal
        projection of the matrix, however well the singular values are known.
        """
        vectors = self.vectors[:, :rank]
        other = vectors.T @ (matrix.T if self.transposed else matrix)
        roots = torch.linalg.vector_norm(other, dim=1).sqrt()
        one, two = vectors.T * roots[:, None], other / roots[:, None]
        return (two, one) if self.transposed else (one, two)


def spectrum(matrix: torch.Tensor, tau: float) -> Spectrum:
    """The spectrum of `matrix`, float64 (m, n), known well enough to decide the rank for `tau`.

    Its elements are differences of float32 numbers, or as small and large as those.
    """
    transposed = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if transposed else matrix
    # Squares of differences of float32 neither overflow nor vanish in float64.
    eigenvalues, eigenvectors = torch.linalg.eigh(wide @ wide.T)
    eigenvalues, eigenvectors = eigenvalues.flip(0), eigenvectors.flip(1)
    if not _gram_decides(eigenvalues, matrix.shape, tau):
        left, values, _ = torch.linalg.svd(wide, full_matrices=False)
        return Spectrum(values, left, transposed)
    return Spectrum(eigenvalues.clamp_min(0).sqrt(), eigenvectors, transposed)


def _gram_decides(eigenvalues: torch.Tensor, shape: torch.Size, tau: float) -> bool:
    """Whether the Gram matrix's eigenvalues, each off by rounding, leave no doubt of the rank.

    An eigenvalue is off by at most `doubt`, of the solver and of sums as long as the long side; a
    singular value near zero by its root. The energies of the least and the largest possible values
    must agree on the rank, or to `ENERGY_TOLERANCE`.
    """
    doubt = (len(eigenvalues) + math.sqrt(max(shape))) * UNIT * float(eigenvalues[0])
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
