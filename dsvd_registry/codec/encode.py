"""One tensor of a fine-tune against its base: which kind of record, at what rank, on what grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .encoded import Dense, Encoded, LowRank, Raw, Same
from .exact import Components, DeltaProduct, apply_delta, apply_dense
from .grid import MIN_EXPONENT, OutsideGrid, component_grid, element_grid
from .rank import energy, noise_rank, tau_rank
from .spectrum import Spectrum, spectrum
from .tensors import round_to, same_bits

DENSE_ERROR = 0.01  # of tensors that tau says nothing of
LEAST_GRID_NOISE = (
    5e-4  # of the delta's norm: truncation may leave nothing to measure noise against
)


@dataclass(frozen=True)
class Settings:
    """tau in (0, 1]; `grid_noise`: how much of the truncation's Frobenius error the grid may add."""

    tau: float
    grid_noise: float


SizeOf = Callable[[Encoded], int]


def encode(
    base: torch.Tensor, source: torch.Tensor, settings: Settings, size_of: SizeOf
) -> Encoded:
    """The record of `source` against `base`, both of one shape and of F32, F16 or BF16.

    `size_of` tells the bytes that a candidate takes as it would be stored; of candidates at equal
    error the smallest is taken. Source: design of the kinds of record, spec section "Records".
    """
    # What a NaN becomes in another dtype differs between machines, so no cast of one is recorded.
    is_castable = base.dtype == source.dtype or not torch.isnan(base).any()
    if is_castable and same_bits(round_to(base, source.dtype), source):
        return Same()
    if not (torch.isfinite(base).all() and torch.isfinite(source).all()):
        return Raw("non_finite")
    delta = source.to(torch.float64) - base.to(torch.float64)
    norm = _norm(delta)
    if norm == 0:
        return Raw("signed_zero")
    candidates: list[Encoded] = []
    wanted = DENSE_ERROR * norm
    if source.ndim >= 2:
        with contextlib.suppress(OutsideGrid):
            low_rank, wanted = _low_rank(base, source, delta, norm, settings)
            candidates.append(low_rank)
    with contextlib.suppress(OutsideGrid):
        candidates.append(_dense(base, source, delta, norm, wanted))
    candidates = [c for c in candidates if isinstance(c, LowRank | Dense) and _is_usable(c)]
    candidates.append(Raw("smaller" if candidates else "range"))
    return min(candidates, key=size_of)


def matrix_shape(tensor: torch.Tensor) -> tuple[int, int]:
    """(out, in * kh * kw): the matrix that a layer's weights are seen as."""
    return tensor.shape[0], math.prod(tensor.shape[1:])


def _low_rank(
    base: torch.Tensor, source: torch.Tensor, delta: torch.Tensor, norm: float, settings: Settings
) -> tuple[LowRank, float]:
    """The low-rank candidate, and the Frobenius error that its components alone leave."""
    shape = matrix_shape(source)
    matrix = delta.reshape(shape)
    found = spectrum(matrix, settings.tau)
    values = found.singular_values
    rank = tau_rank(values, settings.tau, shape)
    components, off = _on_grid(matrix, found, rank, norm, settings.grid_noise)
    result = torch.empty(shape, dtype=source.dtype)
    apply_delta(base.reshape(shape), DeltaProduct(components), source.dtype, result)
    stored_values = values[:rank].to(torch.float32).numpy()
    if not (np.isfinite(stored_values).all() and (stored_values > 0).all()):
        raise OutsideGrid
    return LowRank(
        components=components,
        singular_values=stored_values,
        tau_rank=rank,
        noise_rank=noise_rank(values, (base, source), shape),
        energy=energy(values, rank),
        nuclear_norm=float(values.sum()),
        base_norm=_norm(base.to(torch.float64)),
        norm=norm,
        error=_error(result, source.reshape(shape), norm),
    ), off


def _on_grid(
    matrix: torch.Tensor, found: Spectrum, rank: int, norm: float, grid_noise: float
) -> tuple[Components, float]:
    """Components whose error is within `grid_noise` of what truncation at `rank` leaves.

    The model of the noise (each coefficient a uniform error) sets out; the error measured on the
    product decides, and the distortion is lowered until it is met.
    """
    a, b = found.factors(matrix, rank)
    truncation = _norm(matrix - a.T @ b)
    allowed = math.hypot(
        truncation,
        max(math.sqrt((1 + grid_noise) ** 2 - 1) * truncation, LEAST_GRID_NOISE * norm),
    )
    coefficients = rank * sum(matrix.shape)
    distortion = (allowed**2 - truncation**2) / coefficients
    while True:
        components = component_grid(a, b, distortion)
        off = _distance(matrix, DeltaProduct(components, path=torch.float64))
        if off <= allowed:
            return components, off
        if (components.exponents == MIN_EXPONENT).all():  # there is no finer grid
            raise OutsideGrid
        noise = max(off**2 - truncation**2, 0.0)
        distortion *= min(0.95, 0.98 * (allowed**2 - truncation**2) / max(noise, 1e-300))


def _dense(
    base: torch.Tensor, source: torch.Tensor, delta: torch.Tensor, norm: float, wanted: float
) -> Dense:
    values, exponent = element_grid(delta, wanted)
    result = apply_dense(base, values, exponent, source.dtype)
    base_norm = _norm(base.to(torch.float64))
    return Dense(values, exponent, base_norm, norm, _error(result, source, norm))


def _is_usable(candidate: LowRank | Dense) -> bool:
    """A reconstruction that is not finite has no finite error."""
    return math.isfinite(candidate.error)


def _distance(matrix: torch.Tensor, product: DeltaProduct) -> float:
    return _norm(matrix - product.tile(0, product.rows))


def _error(result: torch.Tensor, source: torch.Tensor, norm: float) -> float:
    return _norm(result.to(torch.float64) - source.to(torch.float64)) / norm


def _norm(tensor: torch.Tensor) -> float:
    """Frobenius norm in float64, safe for values whose squares leave its range."""
    peak = float(tensor.abs().max()) if tensor.numel() else 0.0
    if peak == 0 or not math.isfinite(peak):
        return peak
    return peak * float(torch.linalg.vector_norm(tensor / peak))
