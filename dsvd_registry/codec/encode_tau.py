"""Encoding of one tensor at a tau: its record kind, its rank and its integer grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .arithmetic import one_blas_thread
from .components import MIN_EXPONENT, Components
from .encoded import Dense, Encoded, LowRank, Raw, Same
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .integer_grid import (
    OutsideGrid,
    best_exponents,
    component_costs,
    component_grid,
    component_strengths,
    element_grid,
    grid_error,
)
from .spectrum import Spectrum, noise_rank, spectrum, tau_rank
from .tensor_pair import Distance, Pair, dense_distance, distance, is_same, pair

DENSE_ERROR = 0.01  # relative error of tensors without a rank, such as vectors, where tau < 1
# Of the delta's norm: the grid noise allowed where truncation leaves hardly any error.
LEAST_GRID_NOISE = 5e-4
SAMPLE_ELEMENTS = 1 << 16  # of a large delta, to estimate its size as a dense one
AT_ONCE = 16  # distortions tried in one call: calls cost more than the numbers in them
HOPELESS = 1.5  # a sample that needs this many times the bytes of low rank rules out dense


@dataclass(frozen=True)
class EncodeRequest:
    """A tau and the options for encoding a tensor.

    `tau`: in (0, 1]. `grid_noise`: the error that the grid may add, as a share of the Frobenius
    error that truncation leaves. `keep_noise`: store the tau rank, even where it is above the noise
    rank. `device`: where torch computes spectra; their last bits may differ between devices.
    `least_noise`: the grid noise, as a share of the delta's norm, that is allowed in any case.
    """

    tau: float
    grid_noise: float
    keep_noise: bool = False
    device: str = "cpu"
    least_noise: float = LEAST_GRID_NOISE


SizeOf = Callable[[Encoded], int]


def encode(
    base: torch.Tensor, source: torch.Tensor, request: EncodeRequest, size_of: SizeOf
) -> Encoded:
    """Encode `source` against `base`, both of one shape and of F32, F16 or BF16.

    `size_of` gives the bytes of a candidate as it would be stored; the smallest of the candidates
    with equal error is taken. Source: spec/dsvd-container-v1.md, section "Records".
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return sides
        matrix = sides.delta.to(request.device)
        svd = spectrum(matrix, request.tau) if source.ndim >= 2 else None
        return encode_delta(sides, svd, request, size_of)


def compared(base: torch.Tensor, source: torch.Tensor) -> Pair | Same | Raw:
    """The two sides of a delta, or the record of a tensor of which no delta is taken."""
    if is_same(base, source):
        return Same()
    sides = pair(base, source)
    if sides is None:
        return Raw("non_finite")
    return sides if sides.norm else Raw("signed_zero")


def encode_delta(
    pair: Pair, svd: Spectrum | None, request: EncodeRequest, size_of: SizeOf
) -> Encoded:
    """Encode a delta. `svd`: its spectrum, computed for `request.tau`; None for a vector."""
    candidates: list[Encoded] = []
    wanted = dense_error(request) * pair.norm
    if svd is not None:
        with contextlib.suppress(OutsideGrid):
            low_rank, off = _low_rank(pair, svd, request)
            candidates.append(low_rank)
            # Components may have no error at all.
            wanted = max(off, request.least_noise * pair.norm)
    with contextlib.suppress(OutsideGrid):
        if not candidates or dense_may_win(pair, wanted, size_of(candidates[0]), size_of):
            candidates.append(dense(pair, wanted))
    return smallest(candidates, size_of)


def dense_error(request: EncodeRequest) -> float:
    """The relative error of a tensor that has no rank, such as a vector."""
    return DENSE_ERROR if request.tau < 1 else request.least_noise


def smallest(candidates: list[Encoded], size_of: SizeOf) -> Encoded:
    """The smallest candidate whose result is finite; the raw bytes are always a candidate."""
    usable = [c for c in candidates if isinstance(c, LowRank | Dense) and math.isfinite(c.error)]
    return min([*usable, Raw("smaller" if usable else "range")], key=size_of)


def ranks(pair: Pair, svd: Spectrum, request: EncodeRequest) -> tuple[int, int]:
    """The tau rank, and the rank to store."""
    shape = pair.delta.shape[0], pair.delta.shape[1]
    wanted = tau_rank(svd.singular_values, request.tau, shape)
    above_noise = noise_rank(svd.singular_values, pair.noise_variance, shape)
    return wanted, wanted if request.keep_noise else max(1, min(wanted, above_noise))


def _low_rank(pair: Pair, svd: Spectrum, request: EncodeRequest) -> tuple[LowRank, float]:
    """The low-rank candidate, and the Frobenius error of its delta before the result is rounded."""
    wanted, rank = ranks(pair, svd, request)
    components, reached = _on_grid(pair, svd, rank, request)
    return low_rank(pair, svd, components, wanted, reached), reached.delta


def low_rank(
    pair: Pair, svd: Spectrum, components: Components, wanted: int, reached: Distance
) -> LowRank:
    """The candidate of these components; `wanted` is the tau rank. Raises `OutsideGrid`."""
    values, rank = svd.singular_values, len(components.exponents)
    shape = pair.delta.shape[0], pair.delta.shape[1]
    return LowRank(
        components=components,
        singular_values=stored_values(values, rank),
        tau_rank=wanted,
        noise_rank=noise_rank(values, pair.noise_variance, shape),
        nuclear_norm=float(values.sum()),
        base_norm=pair.base_norm,
        norm=pair.norm,
        error=reached.result / pair.norm,
    )


def stored_values(singular_values: torch.Tensor, rank: int) -> npt.NDArray[np.float32]:
    """The first singular values as a record has them. Raises `OutsideGrid` if it cannot."""
    stored: npt.NDArray[np.float32] = singular_values[:rank].to(torch.float32).numpy()
    if not (np.isfinite(stored).all() and (stored > 0).all()):
        raise OutsideGrid
    return stored


def dense(pair: Pair, wanted: float) -> Dense:
    """The dense candidate with a Frobenius error of at most `wanted`. Raises `OutsideGrid`."""
    values, exponent = element_grid(pair.delta, wanted)
    error = dense_distance(pair, values, exponent) / pair.norm
    return Dense(
        values=values,
        exponent=exponent,
        base_norm=pair.base_norm,
        norm=pair.norm,
        error=error,
    )


def _on_grid(
    pair: Pair, svd: Spectrum, rank: int, request: EncodeRequest
) -> tuple[Components, Distance]:
    """Components of `rank` whose grid noise is within the request.

    The rate-distortion model gives a first distortion. It is lowered until the error measured on
    the product is small enough. Raises `OutsideGrid`.
    """
    a, b = svd.factors(pair.delta.to(request.device), rank)
    strengths = component_strengths(a, b)
    truncation = float(torch.linalg.vector_norm(svd.singular_values[rank:]))
    relative = math.sqrt((1 + request.grid_noise) ** 2 - 1)
    noise = max(relative * truncation, request.least_noise * pair.norm)
    allowed = math.hypot(truncation, noise)
    distortion = distortion_for(strengths, tuple(pair.delta.shape), noise**2)
    while True:
        components = component_grid(a, b, distortion)
        added = grid_error(a, b, components)
        if added <= noise**2:
            off = distance(pair, DeltaProduct(components))
            if off.delta <= allowed:
                return components, off
            added = off.delta**2 - truncation**2  # the two errors are not quite orthogonal
        if (components.exponents == MIN_EXPONENT).all():  # no finer grid exists
            raise OutsideGrid
        distortion *= min(0.99, noise**2 / added)


def distortion_for(strengths: torch.Tensor, shape: tuple[int, ...], noise: float) -> float:
    """The distortion at which the model's squared error of all components is just below `noise`.

    If all of them together may be lost, it is one at which no coefficient is worth a bit.
    """
    rows, columns = shape
    energies = torch.square(strengths)
    if float(energies.sum()) <= noise:
        return float(energies.max())
    distortion, step = noise / (len(strengths) * (rows + columns)), 2.0**0.5
    powers = torch.arange(1, AT_ONCE + 1, dtype=torch.float64, device="cpu")[:, None]
    while step > 1.001:
        tried = distortion * step**powers
        exponents = best_exponents(strengths, (rows, columns), tried)
        errors = component_costs(strengths, (rows, columns), exponents)[0].sum(1)
        met = int((errors <= noise).long().cumprod(0).sum())
        distortion *= step**met
        if met < AT_ONCE:
            step = step ** (1 / AT_ONCE)
    return distortion


def dense_may_win(pair: Pair, wanted: float, size: int, size_of: SizeOf) -> bool:
    """True if a dense delta of error `wanted` could take less than `size` bytes, by a sample."""
    elements = pair.delta.numel()
    if elements <= 4 * SAMPLE_ELEMENTS:
        return True
    sample = pair.delta.reshape(-1)[:: elements // SAMPLE_ELEMENTS].contiguous()
    share = len(sample) / elements
    if not sample.any():
        return True
    values, exponent = element_grid(sample, wanted * math.sqrt(share))
    unmeasured = Dense(values=values, exponent=exponent, base_norm=0.0, norm=0.0, error=0.0)
    return size_of(unmeasured) / share < HOPELESS * size
