"""How well a lossless version predicts each tensor: to the level at which all bytes are the fewest.

What a prediction leaves is stored to the bit, in steps of the numbers themselves. Each component
costs its bits and takes the residual's energy down; the level is where both together are least.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .blas_threads import one_blas_thread
from .encode_tau import DENSE_ERROR, SizeOf, compared, dense, low_rank, smallest
from .encode_water_level import FOR_ENERGY
from .encoded import Encoded, LowRank, Raw
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .integer_grid import OutsideGrid, component_grid
from .measured_error import distance
from .number_spacing import Spacings, spacings
from .rank import noise_rank
from .rate_distortion import dithered_entropy, entropy
from .spectrum import Spectrum, spectrum
from .tensor_pair import Pair
from .water_level import kept_at_level

COARSEST, FINEST = 2.0**2, 2.0**-40  # levels tried, in mean squares of an element of the delta
WORTH_IT = 0.02  # of the bits: what components on top of others must save
NOT_WORTH_IT = 0.02
STRIDES = (16.0, 2.0, 2.0**0.5)  # between levels tried, each time around the best so far


@dataclass(frozen=True)
class Level:
    """A level, what stands of a tensor there, and the bits expected of it with its residual."""

    distortion: float
    rank: int
    bits: float


def encode_for_lossless(
    base: torch.Tensor, source: torch.Tensor, device: str, size_of: SizeOf
) -> Encoded:
    """The record of `source` against `base` that takes the least with its residual.

    Both of one shape and of F32, F16 or BF16. `size_of` tells the bytes of a candidate as it would
    be stored. A vector has no components: its delta is stored to `DENSE_ERROR`.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return sides
        raw = Raw("smaller")
        if source.ndim >= 2:
            with contextlib.suppress(OutsideGrid):
                found, level = _low_rank(sides, source, device)
                return found if level.bits < 8 * size_of(raw) else raw
        return smallest(list(_dense(sides)), size_of)


def components_on_top(result: torch.Tensor, source: torch.Tensor, device: str) -> LowRank | None:
    """Components that bring `result`, a lossy version of `source`, nearer to it.

    Both of one shape and dtype; None where they would not save `WORTH_IT` of the residual's bits.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(result, source)
        if not isinstance(sides, Pair) or source.ndim < 2:
            return None
        with contextlib.suppress(OutsideGrid):
            found, level = _low_rank(sides, source, device)
            without = residual_bits(sides.norm**2, 1.0, sides, spacings(source))
            return found if level.bits < (1 - WORTH_IT) * without else None
        return None


def best_level(found: Spectrum, pair: Pair, of: Spacings) -> Level:
    """The level for a delta of this spectrum, whose source's numbers lie `of`.

    The coarsest that takes hardly more than the fewest bits: half as many components often take but
    `NOT_WORTH_IT` of the bits more, and each of them is multiplied whenever the source is made.
    """
    values = found.singular_values
    scale = float(torch.square(values).sum()) / pair.delta.numel()
    left_out = torch.nn.functional.pad(torch.square(values).flip(0).cumsum(0).flip(0), (0, 1))

    rows, columns = pair.delta.shape
    # Components of mere rounding predict nothing, and the model does not know it.
    most = max(1, noise_rank(values, of.mean_square / 12, (rows, columns)))

    def at(distortion: float) -> Level:
        kept = kept_at_level(values, (rows, columns), distortion)
        if kept.rank > most:
            return Level(distortion, kept.rank, math.inf)
        remains = float(left_out[kept.rank]) + kept.error
        # Of what is but rounding, components take away what is in their own directions.
        rounding = (rows - kept.rank) * (columns - kept.rank) / pair.delta.numel()
        return Level(distortion, kept.rank, kept.bits + residual_bits(remains, rounding, pair, of))

    best, low, high = at(scale), FINEST * scale, COARSEST * scale
    for stride in STRIDES:
        distortion = high
        while distortion >= low:
            best = min(best, at(distortion), key=lambda level: level.bits)
            distortion /= stride
        low, high = best.distortion / stride, best.distortion * stride
    level = best
    while level.distortion < COARSEST * scale:
        coarser = at(level.distortion * STRIDES[-1])
        if coarser.bits > (1 + NOT_WORTH_IT) * best.bits:
            break
        level = coarser
    return level


def residual_bits(remains: float, rounding: float, pair: Pair, of: Spacings) -> float:
    """Bits expected of a residual, where the squares of what is left add up to `remains`.

    `rounding`: the share of the source's rounding that is still among them.

    Over a base in full precision, the rounding of the source to its own numbers is part of what is
    left and costs nothing: a prediction that is otherwise right is rounded alike. In half precision
    the base's own rounding is in the way.
    """
    elements = pair.delta.numel()
    square = remains / elements
    if pair.base.dtype != torch.float32:
        return elements * float(of.shares @ entropy(square**0.5 / of.sizes + 1e-30))
    ratios = max(square - rounding * of.mean_square / 12, 0.0) ** 0.5 / of.sizes
    return elements * float(of.shares @ dithered_entropy(torch.log2(ratios + 1e-30)))


def _dense(pair: Pair) -> Iterator[Encoded]:
    with contextlib.suppress(OutsideGrid):
        yield dense(pair, DENSE_ERROR * pair.norm)


def _low_rank(pair: Pair, source: torch.Tensor, device: str) -> tuple[LowRank, Level]:
    """Components at the best level, and what is expected there. Raises `OutsideGrid`."""
    matrix = pair.delta.to(device)
    found = spectrum(matrix, FOR_ENERGY)
    level = best_level(found, pair, spacings(source))
    components = component_grid(*found.factors(matrix, level.rank), level.distortion)
    reached = distance(pair, DeltaProduct(components))
    return low_rank(pair, found, components, level.rank, reached), level
