"""Encoding of one tensor of a lossless version: the fewest bytes of delta and residual together.

The residual stores exactly the difference that the prediction leaves. Each component of the delta
costs bits and makes the residual smaller; the best water level minimises the sum of both.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .arithmetic import one_blas_thread
from .encode_tau import DENSE_ERROR, SizeOf, compared, dense, low_rank, smallest
from .encoded import Encoded, LowRank, Raw
from .exact_product_torch import CPU, DeltaProduct, ieee_arithmetic
from .integer_grid import OutsideGrid, component_grid
from .number_spacing import Spacings, spacings
from .rate_distortion import dithered_entropy, entropy
from .spectrum import Spectrum, noise_rank, spectrum
from .tensor_pair import Pair, distance
from .water_level import kept_at_levels

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
            (without,) = residual_bits([sides.norm**2], [1.0], sides, spacings(source))
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

    def at(distortions: Sequence[float]) -> Iterator[Level]:
        # All at once: for a small tensor the calls cost far more than the arithmetic.
        levels = kept_at_levels(values, (rows, columns), distortions)
        remains = [float(left_out[kept.rank]) + kept.error for kept in levels]
        # Components remove the part of the rounding noise that lies in their own directions.
        roundings = [
            (rows - kept.rank) * (columns - kept.rank) / pair.delta.numel() for kept in levels
        ]
        residuals = residual_bits(remains, roundings, pair, gaps)
        for distortion, kept, residual in zip(distortions, levels, residuals, strict=True):
            bits = kept.bits + residual if kept.rank <= most else math.inf
            yield Level(distortion, kept.rank, bits)

    (best,), low, high = at([scale]), FINEST * scale, COARSEST * scale
    for stride in STRIDES:
        tried = [high]
        while tried[-1] / stride >= low:
            tried.append(tried[-1] / stride)
        best = min(best, *at(tried), key=lambda level: level.bits)
        low, high = best.distortion / stride, best.distortion * stride
    level = best
    while level.distortion < COARSEST * scale:
        (coarser,) = at([level.distortion * STRIDES[-1]])
        if coarser.bits > (1 + NOT_WORTH_IT) * best.bits:
            break
        level = coarser
    return level


def residual_bits(
    remains: Sequence[float], roundings: Sequence[float], pair: Pair, gaps: Spacings
) -> list[float]:
    """Bits expected of a residual, for each squared error of `remains` that its prediction may have.

    `roundings`: the share of the source's rounding noise that each squared error includes.

    Over a base in full precision the source's rounding costs nothing: an otherwise exact prediction
    is rounded in the same way. A base in half precision adds rounding noise of its own.
    """
    elements = pair.delta.numel()
    squares = [remaining / elements for remaining in remains]
    if pair.base.dtype != torch.float32:
        bits = entropy(_deviations(squares) / gaps.sizes + 1e-30)
    else:
        noise = gaps.mean_square
        own = [
            max(s - share * noise / 12, 0.0) for s, share in zip(squares, roundings, strict=True)
        ]
        bits = dithered_entropy(torch.log2(_deviations(own) / gaps.sizes + 1e-30))
    return [elements * float(gaps.shares @ of_spacings) for of_spacings in bits]


def _deviations(squares: Sequence[float]) -> torch.Tensor:
    """The square roots, float64 (n, 1)."""
    return torch.tensor([[square**0.5] for square in squares], dtype=torch.float64, device="cpu")


def _dense(pair: Pair) -> Iterator[Encoded]:
    with contextlib.suppress(OutsideGrid):
        yield dense(pair, DENSE_ERROR * pair.norm)


def _low_rank(pair: Pair, source: torch.Tensor, device: str) -> tuple[LowRank, Level]:
    """Components at the best water level, and that level. Raises `OutsideGrid`."""
    matrix = pair.delta.to(device)
    svd = spectrum(matrix)
    level = best_level(svd, pair, spacings(source))
    components = component_grid(*svd.factors(matrix, level.rank), level.distortion)
    reached = distance(pair, DeltaProduct(components))
    return low_rank(pair, svd, components, level.rank, reached), level
