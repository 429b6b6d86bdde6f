"""Encoding of a delta that is given as two factors, such as a LoRA's; no full matrix is decomposed.

The full (m, n) product is computed once, a tile at a time, to measure the error of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .arithmetic import one_blas_thread
from .components import MIN_EXPONENT, Components
from .encode_tau import EncodeRequest, distortion_for, stored_values
from .encoded import LowRank, Same
from .exact_product import row_tiles
from .exact_product_torch import CPU, DeltaProduct, add_tile, ieee_arithmetic
from .integer_grid import OutsideGrid, component_grid, component_strengths
from .product_spectrum import FactorSpectrum, factor_spectrum, product_distance
from .spectrum import tau_rank
from .tensor_pair import matrix_shape, square_sum
from .torch_tensors import round_to

PRODUCT_ERROR = 5e-6  # of the delta's norm: no finer grid is asked for, even at tau 1


def encode_factors(
    base: torch.Tensor, up: torch.Tensor, down: torch.Tensor, request: EncodeRequest
) -> LowRank | Same:
    """Encode base + up down, rounded to the base's dtype, as a delta to `base`.

    `base`: (m, ...), F32, F16 or BF16, not written to. `up`: (m, r), `down`: (r, n), both float64.

    The rank is the tau rank of the product's own spectrum. The noise rank does not limit it: a
    delta that is given as factors has not been rounded to half precision. `norm` of the result is
    the norm of the exact product. `error` is measured between the exact sum and the result as it is
    read back, rounded to the base's dtype. In half precision most of it may be that rounding, which
    every merged file has.

    Raises `OutsideGrid` for numbers that are not finite, or too large or small for the grid.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        svd = finite_spectrum(up, down)
        return encode_spectrum(
            svd, request, lambda found: measure(base, up, down, found, base.dtype, torch.float64)
        )


Measured = tuple[float, float]
"""Frobenius norms of the base, and of the result minus its source."""


def finite_spectrum(up: torch.Tensor, down: torch.Tensor) -> FactorSpectrum:
    """The spectrum of `up` times `down`. Raises `OutsideGrid` for numbers that are not finite."""
    if not (torch.isfinite(up).all() and torch.isfinite(down).all()):
        raise OutsideGrid
    return factor_spectrum(up, down)


def encode_spectrum(
    svd: FactorSpectrum, request: EncodeRequest, measured: Callable[[Components], Measured]
) -> LowRank | Same:
    """Encode the product whose spectrum is `svd`. Raises `OutsideGrid`."""
    values = svd.singular_values
    if not bool(values[0] > 0):
        return Same()
    rank = tau_rank(values, request.tau, svd.shape)
    stored_values(values, rank)  # before the work, if a record cannot have them
    components = _on_grid(svd, rank, request)
    return low_rank_of(svd, components, measured(components))


def low_rank_of(svd: FactorSpectrum, components: Components, measured: Measured) -> LowRank:
    """The record of these components of a product, all of which count for its tau.

    Raises `OutsideGrid` where a figure is outside the range of a record.
    """
    values, rank = svd.singular_values, len(components.exponents)
    base_norm, off = measured
    if not math.isfinite(off):
        raise OutsideGrid
    norm = float(torch.linalg.vector_norm(values))
    return LowRank(
        components=components,
        singular_values=stored_values(values, rank),
        tau_rank=rank,
        noise_rank=tau_rank(values, 1.0, svd.shape),
        nuclear_norm=float(values.sum()),
        base_norm=base_norm,
        norm=norm,
        error=off / norm,
    )


def _on_grid(svd: FactorSpectrum, rank: int, request: EncodeRequest) -> Components:
    """Components whose grid noise is within the request, or within `PRODUCT_ERROR` if that is more.

    Raises `OutsideGrid`.
    """
    a, b = svd.balanced(rank)
    truncation = float(torch.linalg.vector_norm(svd.singular_values[rank:]))
    norm = float(torch.linalg.vector_norm(svd.singular_values))
    relative = math.sqrt((1 + request.grid_noise) ** 2 - 1)
    noise = max(relative * truncation, PRODUCT_ERROR * norm)
    distortion = distortion_for(component_strengths(a, b), svd.shape, noise**2)
    while True:
        components = component_grid(a, b, distortion)
        added = product_distance(a, b, components)
        if added <= noise:
            return components
        if (components.exponents == MIN_EXPONENT).all():  # no finer grid exists
            raise OutsideGrid
        distortion *= min(0.99, (noise / added) ** 2)


def measure(
    base: torch.Tensor,
    up: torch.Tensor,
    down: torch.Tensor,
    components: Components,
    dtype: torch.dtype,
    source: torch.dtype,
) -> Measured:
    """Compare the result, rounded to `dtype`, with the exact sum, rounded to the dtype `source`.

    The second norm is not finite where the result is not.
    """
    product = DeltaProduct(components)
    base = base.reshape(matrix_shape(base))
    base_square = off = 0.0
    for first, end in row_tiles(*base.shape):
        rows = base[first:end]
        exact = rows.to(torch.float64).addmm_(up[first:end], down)
        result = add_tile(rows, product.tile(first, end), dtype)
        base_square += square_sum(rows.to(torch.float32))
        off += square_sum(round_to(exact, source).to(torch.float64).sub_(result))
    return math.sqrt(base_square), math.sqrt(off)
