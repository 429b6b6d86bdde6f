"""Encoding of one tensor of a lossless version: the fewest bytes of delta and residual together.

The residual stores exactly the difference that the prediction leaves. Each component of the delta
costs bits and makes the residual smaller; the best water level minimises the sum of both.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .arithmetic import one_blas_thread
from .encode_tau import DENSE_ERROR, SizeOf, compared, dense, low_rank, smallest
from .encode_water_level import FOR_ENERGY
from .encoded import Encoded, LowRank, Raw
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .integer_grid import OutsideGrid, component_grid, dithered_entropy, entropy
from .number_spacing import Spacings, spacings
from .spectrum import Spectrum, noise_rank, spectrum
from .tensor_pair import Pair, distance
from .water_level import kept_at_level

COARSEST, FINEST = 2.0**2, 2.0**-40  # water levels tried, in mean squares of the delta's elements
WORTH_IT = 0.02  # share of the bits that additional components must save
NOT_WORTH_IT = 0.02  # share of the bits that is given up for fewer components
STRIDES = (16.0, 2.0, 2.0**0.5)  # factors between levels tried, each around the best so far


@dataclass(frozen=True)
class Level:
    """A water level, the rank there, and the bits expected of components and residual together."""

    distortion: float
    rank: int
    bits: float


def encode_for_lossless(
    base: torch.Tensor, source: torch.Tensor, device: str, size_of: SizeOf
) -> Encoded:
    """Encode `source` against `base` so that it takes the fewest bytes together with its residual.

    Both have one shape, and are F32, F16 or BF16. `size_of` gives the bytes of a candidate as it
    would be stored. A vector has no components: its delta is stored to an error of `DENSE_ERROR`.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(base, source)
        if not isinstance(sides, Pair):
            return sides
        raw = Raw("smaller")
        if source.ndim >= 2:
            with contextlib.suppress(OutsideGrid):
                encoded, level = _low_rank(sides, source, device)
                return encoded if level.bits < 8 * size_of(raw) else raw
        return smallest(list(_dense(sides)), size_of)


def components_on_top(result: torch.Tensor, source: torch.Tensor, device: str) -> LowRank | None:
    """Additional components that bring `result`, a lossy version of `source`, nearer to `source`.

    Both have one shape and dtype. None if they would save less than `WORTH_IT` of the residual's
    bits.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        sides = compared(result, source)
        if not isinstance(sides, Pair) or source.ndim < 2:
            return None
        with contextlib.suppress(OutsideGrid):
            encoded, level = _low_rank(sides, source, device)
            without = residual_bits(sides.norm**2, 1.0, sides, spacings(source))
            return encoded if level.bits < (1 - WORTH_IT) * without else None
        return None


def best_level(svd: Spectrum, pair: Pair, gaps: Spacings) -> Level:
    """The best water level for a delta with this spectrum; `gaps` are the spacings of the source.

    It is the coarsest level that takes at most `NOT_WORTH_IT` more bits than the best one: half as
    many components often take hardly more bits, and each one costs time at every reconstruction.
    """
    values = svd.singular_values
    scale = float(torch.square(values).sum()) / pair.delta.numel()
    left_out = torch.nn.functional.pad(torch.square(values).flip(0).cumsum(0).flip(0), (0, 1))

    rows, columns = pair.delta.shape
    # The model does not know that components of rounding noise predict nothing.
    most = max(1, noise_rank(values, gaps.mean_square / 12, (rows, columns)))

    def at(distortion: float) -> Level:
        kept = kept_at_level(values, (rows, columns), distortion)
        if kept.rank > most:
            return Level(distortion, kept.rank, math.inf)
        remains = float(left_out[kept.rank]) + kept.error
        # Components remove the part of the rounding noise that lies in their own directions.
        rounding = (rows - kept.rank) * (columns - kept.rank) / pair.delta.numel()
        bits = kept.bits + residual_bits(remains, rounding, pair, gaps)
        return Level(distortion, kept.rank, bits)

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


def residual_bits(remains: float, rounding: float, pair: Pair, gaps: Spacings) -> float:
    """Bits expected of a residual whose prediction has a squared error of `remains`.

    `rounding`: the share of the source's rounding noise that the squared error includes.

    Over a base in full precision the source's rounding costs nothing: an otherwise exact prediction
    is rounded in the same way. A base in half precision adds rounding noise of its own.
    """
    elements = pair.delta.numel()
    square = remains / elements
    if pair.base.dtype != torch.float32:
        return elements * float(gaps.shares @ entropy(square**0.5 / gaps.sizes + 1e-30))
    ratios = max(square - rounding * gaps.mean_square / 12, 0.0) ** 0.5 / gaps.sizes
    return elements * float(gaps.shares @ dithered_entropy(torch.log2(ratios + 1e-30)))


def _dense(pair: Pair) -> Iterator[Encoded]:
    with contextlib.suppress(OutsideGrid):
        yield dense(pair, DENSE_ERROR * pair.norm)


def _low_rank(pair: Pair, source: torch.Tensor, device: str) -> tuple[LowRank, Level]:
    """Components at the best water level, and that level. Raises `OutsideGrid`."""
    matrix = pair.delta.to(device)
    svd = spectrum(matrix, FOR_ENERGY)
    level = best_level(svd, pair, spacings(source))
    components = component_grid(*svd.factors(matrix, level.rank), level.distortion)
    reached = distance(pair, DeltaProduct(components))
    return low_rank(pair, svd, components, level.rank, reached), level
