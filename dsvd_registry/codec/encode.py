"""One tensor of a fine-tune against its base: which kind of record, at what rank, on what grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .bound import MIN_EXPONENT
from .encoded import Dense, Encoded, LowRank, Raw, Same
from .exact import (
    CPU,
    Components,
    DeltaProduct,
    add_tile,
    apply_dense,
    ieee_arithmetic,
    row_tiles,
)
from .grid import OutsideGrid, component_grid, element_grid
from .rank import energy, noise_rank, tau_rank
from .spectrum import Spectrum, spectrum
from .tensors import round_to, same_bits

DENSE_ERROR = 0.01  # of tensors that tau says nothing of, unless tau asks for all
LEAST_GRID_NOISE = (
    5e-4  # of the delta's norm: truncation may leave nothing to measure noise against
)
SAMPLE_ELEMENTS = 1 << 16  # of a large delta, to see whether it could be smaller as a dense one
HOPELESS = 1.5  # a sample that promises this many times the bytes of another kind decides


@dataclass(frozen=True)
class Settings:
    """tau in (0, 1]; `grid_noise`: how much of the truncation's Frobenius error the grid may add."""

    tau: float
    grid_noise: float


@dataclass(frozen=True)
class _Pair:
    """A tensor's two sides as (m, n) matrices, and their exact difference in float64."""

    base: torch.Tensor
    source: torch.Tensor
    delta: torch.Tensor
    base_norm: float
    norm: float


SizeOf = Callable[[Encoded], int]


def encode(
    base: torch.Tensor, source: torch.Tensor, settings: Settings, size_of: SizeOf
) -> Encoded:
    """The record of `source` against `base`, both of one shape and of F32, F16 or BF16.

    `size_of` tells the bytes that a candidate takes as it would be stored; of candidates at equal
    error the smallest is taken. Source: spec/dsvd-container-v1.md, section "Records".
    """
    with ieee_arithmetic(CPU):
        return _encode(base, source, settings, size_of)


def _encode(
    base: torch.Tensor, source: torch.Tensor, settings: Settings, size_of: SizeOf
) -> Encoded:
    # What a NaN becomes in another dtype differs between machines, so no cast of one is recorded.
    is_castable = base.dtype == source.dtype or not torch.isnan(base).any()
    if is_castable and same_bits(round_to(base, source.dtype), source):
        return Same()
    if not (torch.isfinite(base).all() and torch.isfinite(source).all()):
        return Raw("non_finite")
    pair = _pair(base, source)
    if pair.norm == 0:
        return Raw("signed_zero")
    candidates: list[Encoded] = []
    wanted = (DENSE_ERROR if settings.tau < 1 else LEAST_GRID_NOISE) * pair.norm
    if source.ndim >= 2:
        with contextlib.suppress(OutsideGrid):
            low_rank, off = _low_rank(pair, settings)
            candidates.append(low_rank)
            wanted = max(off, LEAST_GRID_NOISE * pair.norm)  # components may be off by nothing
    with contextlib.suppress(OutsideGrid):
        if not candidates or _dense_may_win(pair, wanted, size_of(candidates[0]), size_of):
            candidates.append(_dense(pair, wanted))
    usable = [c for c in candidates if isinstance(c, LowRank | Dense) and math.isfinite(c.error)]
    return min([*usable, Raw("smaller" if usable else "range")], key=size_of)


def matrix_shape(tensor: torch.Tensor) -> tuple[int, int]:
    """(out, in * kh * kw): the matrix that a layer's weights are seen as; (1, 1) for a scalar."""
    return tensor.shape[0] if tensor.ndim else 1, math.prod(tensor.shape[1:])


def _pair(base: torch.Tensor, source: torch.Tensor) -> _Pair:
    base, source = (side.reshape(matrix_shape(source)) for side in (base, source))
    delta = source.to(torch.float64)
    delta -= base
    return _Pair(base, source, delta, _norm(base), _norm(delta))


def _low_rank(pair: _Pair, settings: Settings) -> tuple[LowRank, float]:
    """The low-rank candidate, and the Frobenius error that its components alone leave."""
    shape = matrix_shape(pair.source)
    found = spectrum(pair.delta, settings.tau)
    values = found.singular_values
    rank = tau_rank(values, settings.tau, shape)
    stored_values = values[:rank].to(torch.float32).numpy()
    if not (np.isfinite(stored_values).all() and (stored_values > 0).all()):
        raise OutsideGrid
    components, reached = _on_grid(pair, found, rank, settings.grid_noise)
    return LowRank(
        components=components,
        singular_values=stored_values,
        tau_rank=rank,
        noise_rank=noise_rank(values, (pair.base, pair.source), shape),
        energy=energy(values, rank),
        nuclear_norm=float(values.sum()),
        base_norm=pair.base_norm,
        norm=pair.norm,
        error=reached.result / pair.norm,
    ), reached.delta


@dataclass(frozen=True)
class _Distance:
    """Frobenius distances: of the components from the delta, of the rounded result from the source."""

    delta: float
    result: float


def _on_grid(
    pair: _Pair, found: Spectrum, rank: int, grid_noise: float
) -> tuple[Components, _Distance]:
    """Components whose error is within `grid_noise` of what truncation at `rank` leaves.

    The model of the noise (each coefficient a uniform error) sets out; the error measured on the
    product decides, and the distortion is lowered until it is met. Raises `OutsideGrid`.
    """
    a, b = found.factors(pair.delta, rank)
    # a^T b is an orthogonal projection of the delta, and its squared norm this sum.
    kept = float((torch.square(a).sum(1) * torch.square(b).sum(1)).sum())
    truncation = math.sqrt(max(pair.norm**2 - kept, 0.0))
    allowed = math.hypot(
        truncation,
        max(math.sqrt((1 + grid_noise) ** 2 - 1) * truncation, LEAST_GRID_NOISE * pair.norm),
    )
    distortion = (allowed**2 - truncation**2) / (rank * sum(pair.delta.shape))
    while True:
        components = component_grid(a, b, distortion)
        off = _distance(pair, DeltaProduct(components))
        if off.delta <= allowed:
            return components, off
        if (components.exponents == MIN_EXPONENT).all():  # there is no finer grid
            raise OutsideGrid
        noise = max(off.delta**2 - truncation**2, 0.0)
        distortion *= min(0.95, 0.98 * (allowed**2 - truncation**2) / max(noise, 1e-300))


def _distance(pair: _Pair, product: DeltaProduct) -> _Distance:
    squares = [0.0, 0.0]
    for first, end in row_tiles(product.rows, product.columns):
        tile = product.tile(first, end)
        result = add_tile(pair.base[first:end], tile, pair.source.dtype)
        squares[0] += _square(pair.delta[first:end] - tile)
        squares[1] += _square(result.to(torch.float64) - pair.source[first:end])
    return _Distance(*(math.sqrt(square) for square in squares))


def _dense(pair: _Pair, wanted: float) -> Dense:
    values, exponent = element_grid(pair.delta, wanted)
    result = apply_dense(pair.base, values, exponent, pair.source.dtype)
    error = _norm(result.to(torch.float64) - pair.source) / pair.norm
    return Dense(values, exponent, pair.base_norm, pair.norm, error)


def _dense_may_win(pair: _Pair, wanted: float, size: int, size_of: SizeOf) -> bool:
    """Whether a dense delta of error `wanted` could take less than `size` bytes, by a sample."""
    elements = pair.delta.numel()
    if elements <= 4 * SAMPLE_ELEMENTS:
        return True
    sample = pair.delta.reshape(-1)[:: elements // SAMPLE_ELEMENTS].contiguous()
    share = len(sample) / elements
    if not sample.any():
        return True
    values, exponent = element_grid(sample, wanted * math.sqrt(share))
    return size_of(Dense(values, exponent, 0.0, 0.0, 0.0)) / share < HOPELESS * size


def _norm(tensor: torch.Tensor) -> float:
    """Frobenius norm in float64, in whose range the squares of what came from float32 stay."""
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _square(tensor: torch.Tensor) -> float:
    return float(torch.square(tensor).sum())
