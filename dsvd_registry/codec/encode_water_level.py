"""One tensor at the water level of a whole checkpoint: surveyed for the plan, then encoded to it."""

from __future__ import annotations

import contextlib
import math

import torch

from .blas_threads import one_blas_thread
from .components import Components
from .encode_tau import SizeOf, dense, dense_may_win, low_rank, smallest
from .encoded import Dense, Encoded, LowRank, Raw, Same
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .exactness import MIN_EXPONENT
from .integer_grid import OutsideGrid, component_grid
from .measured_error import Distance, distance
from .rank import mean_square_ulp
from .spectrum import Spectrum, spectrum
from .tensor_pair import Pair, is_same, pair
from .water_level import Survey, Target, kept_at_level

TOLERANCE = 1.03  # of a tensor's error: half a step less would cost more than it is off
NEARER = 0.999  # of the base's distance: a delta that leaves it all is as good as dropped
FOR_ENERGY = 0.5  # how well a spectrum is known: as the energies of this tau ask


def survey(base: torch.Tensor, source: torch.Tensor, device: str) -> Survey | None:
    """What the plan needs of `source` against `base`; None where no delta is taken."""
    with ieee_arithmetic(CPU), one_blas_thread:
        if is_same(base, source):
            return None
        sides = pair(base, source)
        if sides is None or sides.norm == 0:
            return None
        values = torch.empty(0, dtype=torch.float64)
        if source.ndim >= 2:
            values = spectrum(sides.delta.to(device), FOR_ENERGY).singular_values
        return Survey(
            shape=(sides.delta.shape[0], sides.delta.shape[1]),
            singular_values=values,
            norm=sides.norm,
            spacing=math.sqrt(mean_square_ulp(source)),
            raw_bits=8.0 * source.numel() * source.itemsize,
        )


def encode_at(
    base: torch.Tensor, source: torch.Tensor, target: Target, device: str, size_of: SizeOf
) -> Encoded:
    """The record of `source` whose delta is within about `target.allowed` of the true one.

    Both of one shape and of F32, F16 or BF16. The model of the plan sets out; the error measured on
    the product decides, and the level is lowered until it is met, but for `TOLERANCE`, and until the
    result is nearer to `source` than `base` is. `size_of`: as for `encode`.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        if is_same(base, source):
            return Same()
        sides = pair(base, source)
        if sides is None:
            return Raw("non_finite")
        if sides.norm == 0:
            return Raw("signed_zero")
        return _encode_at(sides, target, device, size_of)


def _encode_at(pair: Pair, target: Target, device: str, size_of: SizeOf) -> Encoded:
    if target.kind == "raw":
        return Raw("smaller")
    candidates: list[Encoded] = []
    within = TOLERANCE * target.allowed
    with contextlib.suppress(OutsideGrid):
        if target.kind == "low_rank":
            candidates.append(_low_rank_at(pair, target, device))
    with contextlib.suppress(OutsideGrid):
        if not candidates or dense_may_win(pair, within, size_of(candidates[0]), size_of):
            candidates.append(_dense_within(pair, within))
    return smallest(candidates, size_of)


def _dense_within(pair: Pair, within: float) -> Dense:
    """The candidate of full size at this error, nearer than the base. Raises `OutsideGrid`."""
    while True:
        found = dense(pair, within)
        if found.error < NEARER or not math.isfinite(found.error):
            return found
        within /= 2


def _low_rank_at(pair: Pair, target: Target, device: str) -> LowRank:
    matrix = pair.delta.to(device)
    found = spectrum(matrix, FOR_ENERGY)
    components, reached = _within(pair, matrix, found, target)
    return low_rank(pair, found, components, len(components.exponents), reached)


def _within(
    pair: Pair, matrix: torch.Tensor, found: Spectrum, target: Target
) -> tuple[Components, Distance]:
    """Components at the highest level at which the delta is near enough. Raises `OutsideGrid`."""
    shape = pair.delta.shape[0], pair.delta.shape[1]
    distortion = target.distortion
    while True:
        rank = kept_at_level(found.singular_values, shape, distortion).rank
        components = component_grid(*found.factors(matrix, rank), distortion)
        reached = distance(pair, DeltaProduct(components))
        is_near = reached.delta <= TOLERANCE * target.allowed
        if is_near and reached.result < NEARER * pair.norm:
            return components, reached
        if (components.exponents == MIN_EXPONENT).all() or not math.isfinite(reached.result):
            raise OutsideGrid
        # Error falls more slowly than the level, as components are added too.
        wanted = 0.5 if is_near else (target.allowed / reached.delta) ** 2
        distortion *= min(0.98, wanted)
