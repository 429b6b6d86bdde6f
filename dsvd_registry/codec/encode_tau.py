"""One tensor of a fine-tune against its base: which kind of record, at what rank, on what grid."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .blas_threads import one_blas_thread
from .components import Components
from .encoded import Dense, Encoded, LowRank, Raw, Same
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .exactness import MIN_EXPONENT
from .integer_grid import (
    OutsideGrid,
    best_exponents,
    component_costs,
    component_grid,
    component_strengths,
    element_grid,
    grid_error,
)
from .measured_error import Distance, dense_distance, distance
from .rank import energy, noise_rank, tau_rank
from .spectrum import Spectrum, spectrum
from .tensor_pair import Pair, is_same, pair

DENSE_ERROR = 0.01  # of tensors that tau says nothing of, unless tau asks for all
LEAST_GRID_NOISE = (
    5e-4  # of the delta's norm: truncation may leave nothing to measure noise against
)
SAMPLE_ELEMENTS = 1 << 16  # of a large delta, to see whether it could be smaller as a dense one
AT_ONCE = 16  # distortions tried: a call for each costs more than the numbers in it
HOPELESS = 1.5  # a sample that promises this many times the bytes of another kind decides


@dataclass(frozen=True)
class EncodeRequest:
    """tau in (0, 1]; `grid_noise`: how much of the truncation's Frobenius error the grid may add.

    `keep_noise`: tau's rank, also where it is above the rounding noise of half precision. `device`:
    where spectra are found; in the last bits they may differ from those of another.
    """

    tau: float
    grid_noise: float
    keep_noise: bool = False
    device: str = "cpu"


SizeOf = Callable[[Encoded], int]


def encode(
    base: torch.Tensor, source: torch.Tensor, settings: EncodeRequest, size_of: SizeOf
) -> Encoded:
    """The record of `source` against `base`, both of one shape and of F32, F16 or BF16.

    `size_of` tells the bytes that a candidate takes as it would be stored; of candidates at equal
    error the smallest is taken. Source: spec/dsvd-container-v1.md, section "Records".
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return sides
        matrix = sides.delta.to(settings.device)
        found = spectrum(matrix, settings.tau) if source.ndim >= 2 else None
        return encode_delta(sides, found, settings, size_of)


def compared(base: torch.Tensor, source: torch.Tensor) -> Pair | Same | Raw:
    """The two sides of a delta, or the record where none is to be taken."""
    if is_same(base, source):
        return Same()
    sides = pair(base, source)
    if sides is None:
        return Raw("non_finite")
    return sides if sides.norm else Raw("signed_zero")


def encode_delta(
    pair: Pair, found: Spectrum | None, settings: EncodeRequest, size_of: SizeOf
) -> Encoded:
    """The record of a delta whose spectrum is known for `settings.tau`; a vector has none."""
    candidates: list[Encoded] = []
    wanted = (DENSE_ERROR if settings.tau < 1 else LEAST_GRID_NOISE) * pair.norm
    if found is not None:
        with contextlib.suppress(OutsideGrid):
            low_rank, off = _low_rank(pair, found, settings)
            candidates.append(low_rank)
            wanted = max(off, LEAST_GRID_NOISE * pair.norm)  # components may be off by nothing
    with contextlib.suppress(OutsideGrid):
        if not candidates or dense_may_win(pair, wanted, size_of(candidates[0]), size_of):
            candidates.append(dense(pair, wanted))
    return smallest(candidates, size_of)


def smallest(candidates: list[Encoded], size_of: SizeOf) -> Encoded:
    """The candidate of the fewest bytes whose result is finite; raw bytes are always one."""
    usable = [c for c in candidates if isinstance(c, LowRank | Dense) and math.isfinite(c.error)]
    return min([*usable, Raw("smaller" if usable else "range")], key=size_of)


def ranks(pair: Pair, found: Spectrum, settings: EncodeRequest) -> tuple[int, int]:
    """tau's rank, and how many components are to be stored."""
    shape = pair.delta.shape[0], pair.delta.shape[1]
    wanted = tau_rank(found.singular_values, settings.tau, shape)
    above_noise = noise_rank(found.singular_values, pair.noise_variance, shape)
    return wanted, wanted if settings.keep_noise else max(1, min(wanted, above_noise))


def _low_rank(pair: Pair, found: Spectrum, settings: EncodeRequest) -> tuple[LowRank, float]:
    """The low-rank candidate, and the Frobenius error that its components alone leave."""
    wanted, rank = ranks(pair, found, settings)
    components, reached = _on_grid(pair, found, rank, settings)
    return low_rank(pair, found, components, wanted, reached), reached.delta


def low_rank(
    pair: Pair, found: Spectrum, components: Components, wanted: int, reached: Distance
) -> LowRank:
    """The candidate of these components, `wanted` of which are tau's. Raises `OutsideGrid`."""
    values, rank = found.singular_values, len(components.exponents)
    stored_values = values[:rank].to(torch.float32).numpy()
    if not (np.isfinite(stored_values).all() and (stored_values > 0).all()):
        raise OutsideGrid
    shape = pair.delta.shape[0], pair.delta.shape[1]
    return LowRank(
        components=components,
        singular_values=stored_values,
        tau_rank=wanted,
        noise_rank=noise_rank(values, pair.noise_variance, shape),
        energy=energy(values, rank),
        nuclear_norm=float(values.sum()),
        base_norm=pair.base_norm,
        norm=pair.norm,
        error=reached.result / pair.norm,
    )


def dense(pair: Pair, wanted: float) -> Dense:
    """The candidate of full size at a Frobenius error of `wanted`. Raises `OutsideGrid`."""
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
    pair: Pair, found: Spectrum, rank: int, settings: EncodeRequest
) -> tuple[Components, Distance]:
    """Components whose error is within the grid noise of what truncation at `rank` leaves.

    The model of the noise sets out; the error measured on the product decides, and the distortion
    is lowered until it is met. Raises `OutsideGrid`.
    """
    a, b = found.factors(pair.delta.to(settings.device), rank)
    strengths = component_strengths(a, b)
    truncation = float(torch.linalg.vector_norm(found.singular_values[rank:]))
    relative = math.sqrt((1 + settings.grid_noise) ** 2 - 1)
    noise = max(relative * truncation, LEAST_GRID_NOISE * pair.norm)
    allowed = math.hypot(truncation, noise)
    distortion = distortion_for(strengths, tuple(pair.delta.shape), noise**2)
    while True:
        components = component_grid(a, b, distortion)
        added = grid_error(a, b, components)
        if added <= noise**2:
            off = distance(pair, DeltaProduct(components))
            if off.delta <= allowed:
                return components, off
            added = off.delta**2 - truncation**2  # the grid's error is not quite across the rest
        if (components.exponents == MIN_EXPONENT).all():  # there is no finer grid
            raise OutsideGrid
        distortion *= min(0.99, noise**2 / added)


def distortion_for(strengths: torch.Tensor, shape: tuple[int, ...], noise: float) -> float:
    """The D at which the model's squared error of all components is just below `noise`."""
    rows, columns = shape
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
    """Whether a dense delta of error `wanted` could take less than `size` bytes, by a sample."""
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
