"""A delta that comes as two factors, such as a LoRA's, onto the grid: its matrix is not decomposed.

All of m x n is made a tile at a time, once, to measure what will be read back.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .blas_threads import one_blas_thread
from .components import Components
from .encode_tau import EncodeRequest, distortion_for
from .encoded import LowRank, Same
from .exact_product import row_tiles
from .exact_product_torch import CPU, DeltaProduct, add_tile, ieee_arithmetic
from .exactness import MIN_EXPONENT
from .integer_grid import OutsideGrid, component_grid, component_strengths
from .product_spectrum import FactorSpectrum, factor_spectrum, product_distance
from .rank import energy, tau_rank
from .tensor_pair import matrix_shape, square_sum

PRODUCT_ERROR = 5e-6  # of the delta's norm: the most that the grid is asked for, also at tau 1


def encode_factors(
    base: torch.Tensor, up: torch.Tensor, down: torch.Tensor, settings: EncodeRequest
) -> LowRank | Same:
    """The record of base + up down, rounded to the base's dtype, against `base` (m, ...).

    `base`: F32, F16 or BF16; only read. `up`: (m, r), `down`: (r, n), float64. The rank is tau's of
    the product's own spectrum, and the noise of half precision does not count: a delta that is given
    as factors has not been rounded. Its `norm` is that of the exact product, and `error` is the
    distance of the result, as it is read back and rounded to the base's dtype, from the exact sum: in
    half precision most of that may be the rounding, which no merged file is without.

    Raises `OutsideGrid` for numbers that are not finite or too large or small for the grid.
    """
    if not (torch.isfinite(up).all() and torch.isfinite(down).all()):
        raise OutsideGrid
    with ieee_arithmetic(CPU), one_blas_thread:
        found = factor_spectrum(up, down)
        values = found.singular_values
        if not bool(values[0] > 0):
            return Same()
        shape = matrix_shape(base)
        rank = tau_rank(values, settings.tau, shape)
        norm = float(torch.linalg.vector_norm(values))
        stored = values[:rank].to(torch.float32).numpy()
        if not (np.isfinite(stored).all() and (stored > 0).all()):
            raise OutsideGrid
        components = _on_grid(found, rank, shape, settings)
        base_norm, off = _measured(base.reshape(shape), up, down, components)
        if not math.isfinite(off):
            raise OutsideGrid
        return LowRank(
            components=components,
            singular_values=stored,
            tau_rank=rank,
            noise_rank=tau_rank(values, 1.0, shape),
            energy=energy(values, rank),
            nuclear_norm=float(values.sum()),
            base_norm=base_norm,
            norm=norm,
            error=off / norm,
        )


def _on_grid(
    found: FactorSpectrum, rank: int, shape: tuple[int, int], settings: EncodeRequest
) -> Components:
    """Components within the grid noise of what truncation leaves, and never asked for less than
    `PRODUCT_ERROR`. Raises `OutsideGrid`."""
    a, b = found.balanced(rank)
    truncation = float(torch.linalg.vector_norm(found.singular_values[rank:]))
    norm = float(torch.linalg.vector_norm(found.singular_values))
    relative = math.sqrt((1 + settings.grid_noise) ** 2 - 1)
    noise = max(relative * truncation, PRODUCT_ERROR * norm)
    distortion = distortion_for(component_strengths(a, b), shape, noise**2)
    while True:
        components = component_grid(a, b, distortion)
        added = product_distance(a, b, components)
        if added <= noise:
            return components
        if (components.exponents == MIN_EXPONENT).all():  # there is no finer grid
            raise OutsideGrid
        distortion *= min(0.99, (noise / added) ** 2)


def _measured(
    base: torch.Tensor, up: torch.Tensor, down: torch.Tensor, components: Components
) -> tuple[float, float]:
    """Frobenius norms of the base, and of the result less the exact sum; the latter not finite
    where the result is not."""
    product = DeltaProduct(components)
    base_square = off = 0.0
    for first, end in row_tiles(*base.shape):
        rows = base[first:end]
        exact = rows.to(torch.float64).addmm_(up[first:end], down)
        result = add_tile(rows, product.tile(first, end), base.dtype)
        base_square += square_sum(rows.to(torch.float32))
        off += square_sum(exact.sub_(result))
    return math.sqrt(base_square), math.sqrt(off)
