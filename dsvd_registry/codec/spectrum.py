"""Singular value decomposition of a delta, by the Gram matrix of its smaller side where possible.

An energy needs all singular values, a record only the singular vectors of the largest ones. The
Gram matrix, once reduced to tridiagonal form, gives both. Where its precision does not decide the
rank, a full SVD does. The ranks are those of the energy rule of Delta-SVD, and the noise rank of half
precision.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .lapack import NotConverged, Tridiagonal, tridiagonalize
from .products import gram, product


def energy(singular_values: torch.Tensor, rank: int) -> float:
    """The energy E(t) = (s_1 + ... + s_t) / (sum of all) for t = `rank`.

    The singular values themselves are summed, not their squares. `singular_values`: float64,
    falling. Source: Delta-SVD, arXiv 2508.16863, section 3.
    """
    return min(1.0, float(singular_values[:rank].sum() / singular_values.sum()))


def tau_rank(singular_values: torch.Tensor, tau: float, shape: tuple[int, ...]) -> int:
    """The tau rank: the smallest t >= 1 with E(t) >= tau; for tau = 1 the numerical rank.

    `singular_values`: float64 (min(shape),), falling, the first one positive. The numerical rank is
    the number of s > s_1 * max(m, n) * 2^-52.
    """
    if tau == 1:
        threshold = float(singular_values[0]) * max(shape) * 2.0**-52
        return max(1, int((singular_values > threshold).sum()))
    sums = singular_values.cumsum(0)
    return min(int((sums < tau * sums[-1]).sum()) + 1, len(singular_values))


def noise_rank(singular_values: torch.Tensor, variance: float, shape: tuple[int, int]) -> int:
    """The noise rank: the number of singular values above rounding noise of `variance` per element.

    A random (m, n) matrix of standard deviation sigma has singular values up to
    sigma (sqrt(m) + sqrt(n)).
    """
    threshold = math.sqrt(variance) * (math.sqrt(shape[0]) + math.sqrt(shape[1]))
    return int((singular_values > threshold).sum())


UNIT = 2.0**-53  # half the spacing of float64 at 1
ENERGY_TOLERANCE = 5e-5  # of E(t), where it decides a rank
RUN = 2048  # columns multiplied at a time on a device
# The error of an eigenvalue, relative to the largest one, that products in float32 are taken to cause
# (their runs are summed in float64). Eigenvalues of trained deltas moved by at most 2^-28 in
# measurements. That is no proof: the norm of the rounding error bounds it, and was up to 2^-22.6 for
# pure noise, spread over all directions.
SINGLE_DOUBT = 2.0**-24
# The errors that a reduction in float32 is taken to cause as well: relative to the root mean square of
# all eigenvalues, to the eigenvalue itself, and, for eigenvalues near zero, to the norm of all. Measured
# for trained deltas, noise and exact low rank: up to 2^-22.2, 2^-20 and 2^-23.2.
MEAN_DOUBT, OWN_DOUBT, NORM_DOUBT = 2.0**-21.5, 2.0**-19, 2.0**-22
WIDEST = 2e-3  # share of the nuclear norm in doubt: more is seen where most eigenvalues are zero
SINGLE_FROM = 256  # rows of a Gram matrix; single precision saves little for smaller ones

# The largest deviation from orthonormality that vectors of each precision may have. The error of the
# projection is orthogonal to that of truncation, so only its square counts.
ORTHONORMAL: dict[type[np.float32 | np.float64], float] = {np.float32: 1e-4, np.float64: 1e-9}
NEARLY_ORTHONORMAL = 1e-2  # a deviation that one step of Newton and Schulz brings below 1e-4

Vectors = Callable[[int], torch.Tensor]


@dataclass(frozen=True)
class Spectrum:
    """All singular values of an (m, n) matrix, and the singular vectors of its smaller side.

    `singular_values`: float64 (min(m, n),), falling, on the CPU. `vectors(t)`: the first t left
    singular vectors (m, t), or the right ones (n, t) if `transposed`, on the device and of the
    dtype of the matrix.
    """

    singular_values: torch.Tensor
    vectors: Vectors
    transposed: bool

    def reaching(self, rank: int) -> Spectrum:
        """The same spectrum with the first `rank` vectors computed once, for all later calls."""
        computed = self.vectors(rank)
        return replace(self, vectors=lambda count: computed[:, :count])

    def factors(self, matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The balanced factors A = (U_t sqrt(S_t))^T (t, m) and B = sqrt(S_t) V_t^T (t, n), t = `rank`.

        They are on the CPU, in the dtype of `matrix`. The factor of the other side is the product
        of the vectors with `matrix`. A^T B is therefore an orthogonal projection of `matrix`,
        whatever the error of the singular values.
        """
        vectors = self.vectors(rank)
        if self.transposed:
            projected = _product(matrix, vectors).T.contiguous()
        else:
            projected = _product(vectors.T, matrix)
        # In float64: the squares of the least float32 numbers would vanish.
        norms = torch.linalg.vector_norm(projected, dim=1, dtype=torch.float64)
        roots = norms.sqrt().to(projected.dtype)[:, None]
        own, other = (vectors.T * roots).cpu(), projected.div_(roots).cpu()
        return (other, own) if self.transposed else (own, other)


def spectrum(matrix: torch.Tensor, *taus: float) -> Spectrum:
    """The spectrum of `matrix` (m, n), precise enough to decide the tau rank for each of `taus`.

    Without any tau, single values may be less precise, but their sum is not.
    `matrix` is float64, or float32 if its largest magnitude is neither tiny nor huge. Its elements
    are in the range of differences of float32 numbers, so that their squares neither overflow nor
    vanish in float64.
    """
    transposed = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if transposed else matrix
    square, products = None, None
    for precision in _precisions(wide):
        if square is None or products != precision.products:
            products = precision.products
            square = _gram(wide, products)
        eigenvalues, vectors = _eigen(square, precision.reduction, wide.dtype)
        doubts = precision.doubts(eigenvalues)
        if _doubted_share(eigenvalues, doubts) <= precision.widest and all(
            _gram_decides(eigenvalues, matrix.shape, tau, doubts) for tau in taus
        ):
            return Spectrum(eigenvalues.clamp_min(0).sqrt(), vectors, transposed)
    left, values, _ = torch.linalg.svd(wide.to(torch.float64), full_matrices=False)
    return Spectrum(values.cpu(), lambda count: left[:, :count].to(wide.dtype), transposed)


@dataclass(frozen=True)
class _Precision:
    """Dtypes to work in, and a function for the errors of falling eigenvalues that they may cause.

    `products`: of the Gram matrix. `reduction`: to tridiagonal form, on the CPU. `widest`: the largest
    share of the sum of all singular values that may be in doubt, even where the rank is not.
    """

    products: torch.dtype
    reduction: torch.dtype
    doubts: Callable[[torch.Tensor], torch.Tensor]
    widest: float = math.inf


def _precisions(wide: torch.Tensor) -> Iterator[_Precision]:
    """The precisions to try, the fastest first."""
    if wide.dtype == torch.float32 and len(wide) >= SINGLE_FROM:
        if wide.device.type == "cpu":
            yield _Precision(torch.float32, torch.float32, _single_doubts, WIDEST)
        yield _Precision(torch.float32, torch.float64, lambda values: SINGLE_DOUBT * values[:1])
    # The rounding of the solver, and of sums over the longer side.
    doubt = (len(wide) + math.sqrt(wide.shape[1])) * UNIT
    yield _Precision(torch.float64, torch.float64, lambda values: doubt * values[:1])


def _single_doubts(eigenvalues: torch.Tensor) -> torch.Tensor:
    """The errors that products and a reduction in float32 may cause.

    A random error moves single eigenvalues by little, and those that coincide by its norm in the
    space of their vectors. Where that happens far from zero, their roots keep their sum. At zero,
    negative eigenvalues tell of it, too.
    """
    norm, number = float(torch.linalg.vector_norm(eigenvalues)), len(eigenvalues)
    is_near_zero = eigenvalues < 8 * NORM_DOUBT * norm
    share = float(is_near_zero.sum()) / number
    together = max(NORM_DOUBT * norm * math.sqrt(share), -2 * float(eigenvalues[-1]))
    doubts = torch.where(is_near_zero, together, 0.0)
    return doubts.clamp_min(MEAN_DOUBT * norm / math.sqrt(number)) + OWN_DOUBT * eigenvalues.abs()


def _gram(wide: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The Gram matrix of `wide`, float64 (k, k), from products of runs of columns in `dtype`.

    Only the upper triangle is defined.
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


def _eigen(
    square: torch.Tensor, working: torch.dtype, dtype: torch.dtype
) -> tuple[torch.Tensor, Vectors]:
    """All eigenvalues, falling, on the CPU, and a function for the first eigenvectors, in `dtype`.

    `working`: the precision of the reduction to tridiagonal form, on the CPU.
    """
    if square.device.type == "cpu":
        try:
            reduced = tridiagonalize(square.to(working, copy=True).numpy())
            values = torch.from_numpy(reduced.eigenvalues()[::-1].copy())
            return values, functools.partial(_staged_vectors, reduced, square, dtype)
        except NotConverged:
            pass
    eigenvalues, eigenvectors = torch.linalg.eigh(square, UPLO="U")
    return eigenvalues.flip(0).cpu(), lambda count: eigenvectors.flip(1)[:, :count].to(dtype)


def _staged_vectors(
    reduced: Tridiagonal, square: torch.Tensor, dtype: torch.dtype, count: int
) -> torch.Tensor:
    """The first eigenvectors, in single precision if `dtype` is single and they are accurate enough."""
    for working, bound in ORTHONORMAL.items():
        if working == np.float32 and (dtype != torch.float32 or len(square) < SINGLE_FROM):
            continue
        if working == np.float64 and reduced.dtype == np.float32:
            continue
        try:
            vectors = torch.from_numpy(reduced.top_eigenvectors(count, working).copy())
            off = _off_orthonormal(vectors)
            if bound <= float(off.abs().max()) < NEARLY_ORTHONORMAL:
                vectors = _nearer_orthonormal(vectors, off)
                off = _off_orthonormal(vectors)
            if float(off.abs().max()) < bound:
                return vectors.to(dtype)
        except NotConverged:
            pass
    eigenvectors: torch.Tensor = torch.linalg.eigh(square, UPLO="U")[1]
    return eigenvectors.flip(1)[:, :count].to(dtype)


def _off_orthonormal(vectors: torch.Tensor) -> torch.Tensor:
    """The deviation of vectors from orthonormal ones: V^T V - 1."""
    off = product(vectors.T, vectors)
    off.diagonal().sub_(1.0)
    return off


def _nearer_orthonormal(vectors: torch.Tensor, off: torch.Tensor) -> torch.Tensor:
    """The vectors of the same space after one step of Newton and Schulz: V (1 - off / 2).

    `off`: their deviation, which is overwritten, and which is squared at each step. The nearest
    orthonormal vectors are the fixed point.
    """
    step = off.mul_(-0.5)
    step.diagonal().add_(1.0)
    return product(vectors, step)


def _gram_decides(
    eigenvalues: torch.Tensor, shape: torch.Size, tau: float, doubts: torch.Tensor
) -> bool:
    """True if eigenvalues with errors of at most `doubts` determine the tau rank.

    A singular value near zero has an error of up to the root of its doubt. The energies of the least
    and of the largest possible singular values must give the same rank, or agree to
    `ENERGY_TOLERANCE`.
    """
    if tau == 1:
        threshold = math.sqrt(float(eigenvalues[0])) * max(shape) * 2.0**-52
        return float((eigenvalues - doubts)[-1]) > threshold**2
    least, most = _bounds(eigenvalues, doubts)
    total = float(most.sum())
    if float((most - least).sum()) <= ENERGY_TOLERANCE * total:
        return True
    rank = tau_rank(most, tau, tuple(shape))
    low = float(least[:rank].sum()) / total
    high = energy(most, rank - 1) * total / max(float(least.sum()), UNIT * total)
    return low >= tau and high < tau


def _doubted_share(eigenvalues: torch.Tensor, doubts: torch.Tensor) -> float:
    """The share of the sum of all singular values by which it may be wrong, up and down together."""
    least, most = _bounds(eigenvalues, doubts)
    return float((most - least).sum()) / float(most.sum())


def _bounds(eigenvalues: torch.Tensor, doubts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest singular values that the eigenvalues allow."""
    least, most = (
        values.clamp_min(0).sqrt() for values in (eigenvalues - doubts, eigenvalues + doubts)
    )
    return least, most
