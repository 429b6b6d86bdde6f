"""Distances between two sets of pictures, each a matrix with one row of features for a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

FLOOR_SPLITS = 40  # of the photographs into halves
FEWEST = 2  # pictures in a set, and photographs in a half


def kid(left: Matrix, right: Matrix) -> float:
    """The kernel inception distance: the unbiased squared MMD of the kernel (x.y / d + 1)^3.

    It is 0 in the mean for two sets from one source, whatever their sizes; it may be below 0.
    """
    within = _mean_off_diagonal(_kernel(left, left)) + _mean_off_diagonal(_kernel(right, right))
    return float(within - 2 * np.mean(_kernel(left, right)))


def fid(left: Matrix, right: Matrix) -> float:
    """The Frechet inception distance between Gaussians with the means and covariances of two sets.

    It is far above 0 for small sets from one source: see `fid_floor`. The square root of the product
    of the covariances is not formed: its trace is the nuclear norm of the product of the centred
    sets, which is exact for sets smaller than the number of features, too.
    """
    a, b = _centred(left), _centred(right)
    apart = np.sum((left.mean(axis=0) - right.mean(axis=0)) ** 2)
    common = np.sum(np.linalg.svd(a @ b.T, compute_uv=False))
    return float(apart + np.sum(a**2) + np.sum(b**2) - 2 * common)


def fid_floor(photographs: Matrix, seed: int = 0) -> float | None:
    """The mean FID between two random halves of the same photographs; None for fewer than four.

    Sets of this size have that FID although nothing tells them apart.
    """
    half = len(photographs) // 2
    if half < FEWEST:
        return None
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(FLOOR_SPLITS):
        order = draw.permutation(len(photographs))
        found.append(fid(photographs[order[:half]], photographs[order[half : 2 * half]]))
    return float(np.mean(found))


def _kernel(left: Matrix, right: Matrix) -> Matrix:
    return np.asarray((left @ right.T / left.shape[1] + 1) ** 3, dtype=np.float64)


def _mean_off_diagonal(kernel: Matrix) -> float:
    count = len(kernel)
    return float((np.sum(kernel) - np.trace(kernel)) / (count * (count - 1)))


def _centred(rows: Matrix) -> Matrix:
    return np.asarray((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1), dtype=np.float64)
