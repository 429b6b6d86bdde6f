"""Encoding of one tensor at the water level of a whole checkpoint, and the survey for its plan."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import torch

from .arithmetic import one_blas_thread
from .components import MIN_EXPONENT, Components
from .encode_tau import SizeOf, compared, dense, dense_may_win, low_rank, smallest
from .encoded import Dense, Encoded, LowRank, Raw
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .integer_grid import OutsideGrid, component_grid
from .kept_spectrum import KeptSpectrum, kept
from .spectrum import Spectrum, spectrum
from .tensor_pair import Distance, Pair, distance, mean_square_ulp
from .water_level import Survey, Target, kept_at_levels

TOLERANCE = 1.03  # of the allowed error: another step would cost more bits than this excess saves
NEARER = 0.999  # of the base's distance: a delta that gets no nearer would be useless


def survey(
    base: torch.Tensor, source: torch.Tensor, device: str, likely_error: float
) -> tuple[Survey, KeptSpectrum | None] | None:
    """Measure a tensor for the plan; None if no delta of it is taken.

    The second is None for a vector. It has what an encoding with the `likely_error` needs.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return None
        svd = spectrum(sides.delta.to(device)) if source.ndim >= 2 else None
        return _survey_of_pair(sides, svd), None if svd is None else kept(svd, likely_error)


def survey_pair(sides: Pair, ndim: int, device: str) -> Survey | None:
    """Measure a delta of a tensor of `ndim` dimensions; None if it is zero."""
    if sides.norm == 0:
        return None
    return _survey_of_pair(sides, spectrum(sides.delta.to(device)) if ndim >= 2 else None)


def _survey_of_pair(sides: Pair, svd: Spectrum | None) -> Survey:
    values = torch.empty(0, dtype=torch.float64) if svd is None else svd.singular_values
    return survey_of((sides.delta.shape[0], sides.delta.shape[1]), values, sides.norm, sides.source)


def survey_of(
    shape: tuple[int, int], singular_values: torch.Tensor, norm: float, source: torch.Tensor
) -> Survey:
    """The survey of a delta; `source` is a tensor of the result's dtype, and about its numbers."""
    return Survey(
        shape=shape,
        singular_values=singular_values,
        norm=norm,
        spacing=math.sqrt(mean_square_ulp(source)),
        raw_bits=8.0 * source.numel() * source.itemsize,
    )


def encode_at(
    base: torch.Tensor,
    source: torch.Tensor,
    target: Target,
    device: str,
    size_of: SizeOf,
    known: KeptSpectrum | None = None,
) -> Encoded:
    """Encode `source` against `base` with an error of at most about `target.allowed`.

    Both have one shape, and are F32, F16 or BF16. The plan gives a first water level. It is lowered
    until the error measured on the product is within `TOLERANCE` of the target, and the result is
    nearer to `source` than `base` is. `size_of`: as of `encode`. `known`: from the survey.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return sides
        return encode_pair_at(sides, target, device, size_of, known)


def encode_pair_at(
    pair: Pair,
    target: Target,
    device: str,
    size_of: SizeOf,
    known: KeptSpectrum | None = None,
) -> Encoded:
    """Encode a delta that is not zero; see `encode_at`."""
    if target.kind == "raw":
        return Raw("smaller")
    candidates: list[Encoded] = []
    within = TOLERANCE * target.allowed
    with contextlib.suppress(OutsideGrid):
        if target.kind == "low_rank":
            candidates.append(_low_rank_at(pair, target, device, known))
    with contextlib.suppress(OutsideGrid):
        if not candidates or dense_may_win(pair, within, size_of(candidates[0]), size_of):
            candidates.append(_dense_within(pair, within))
    return smallest(candidates, size_of)


def _dense_within(pair: Pair, within: float) -> Dense:
    """The dense candidate of this error, or a smaller one if the result is no nearer than the base.

    Raises `OutsideGrid`.
    """
    while True:
        candidate = dense(pair, within)
        if candidate.error < NEARER or not math.isfinite(candidate.error):
            return candidate
        within /= 2


def _low_rank_at(pair: Pair, target: Target, device: str, known: KeptSpectrum | None) -> LowRank:
    matrix = pair.delta.to(device)
    svd = spectrum(matrix) if known is None else known.over(matrix)
    components, reached = components_within(
        svd.singular_values,
        (pair.delta.shape[0], pair.delta.shape[1]),
        lambda rank, distortion: component_grid(*svd.factors(matrix, rank), distortion),
        lambda components: distance(pair, DeltaProduct(components)),
        target,
        NEARER * pair.norm,
    )
    return low_rank(pair, svd, components, len(components.exponents), reached)


def components_within(
    singular_values: torch.Tensor,
    shape: tuple[int, int],
    on_grid: Callable[[int, float], Components],
    distance_of: Callable[[Components], Distance],
    target: Target,
    nearer: float,
) -> tuple[Components, Distance]:
    """Components at the highest water level whose error is small enough. Raises `OutsideGrid`.

    `on_grid`: the components of a rank at a distortion. `nearer`: the result has to be nearer to its
    source than this.
    """
    distortion = target.distortion
    while True:
        rank = kept_at_levels(singular_values, shape, [distortion])[0].rank
        components = on_grid(rank, distortion)
        reached = distance_of(components)
        is_near = reached.delta <= TOLERANCE * target.allowed
        if is_near and reached.result < nearer:
            return components, reached
        if (components.exponents == MIN_EXPONENT).all() or not math.isfinite(reached.result):
            raise OutsideGrid
        # The error falls more slowly than the level, because components are added as well.
        lower = 0.5 if is_near else (target.allowed / reached.delta) ** 2
        distortion *= min(0.98, lower)
