"""The two sides of a tensor, base and source: their difference, its noise, and the error of a delta."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .exact_product import row_tiles
from .exact_product_torch import DeltaProduct, add_tile, apply_dense
from .torch_tensors import empty, round_to, same_bits, scratch_tensor

BLOCK = 1 << 17  # elements processed at a time
RUN = 1 << 10  # elements summed in float32; the sums of runs are summed in float64
# Magnitudes whose squares, and sums of products, stay well inside float32.
TAME = (2.0**-40, 2.0**40)


@dataclass(frozen=True)
class Pair:
    """A tensor's two sides as (m, n) matrices, and their difference.

    `delta`: source - base, float32 and rounded once if its numbers are neither tiny nor huge,
    otherwise float64 and exact. `base_norm`, `norm`: Frobenius norms of the base and of the delta.
    `noise_variance`: the variance per element of the rounding noise of the sides in half precision,
    both together.
    """

    base: torch.Tensor
    source: torch.Tensor
    delta: torch.Tensor
    base_norm: float
    norm: float
    noise_variance: float

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Runs of rows, as (first, end), of a good size for a product."""
        return row_tiles(*self.delta.shape)


def blocks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Matching flat blocks of contiguous tensors of one size.

    A block is small enough to stay in the cache of a core through several steps.
    """
    return zip(*(torch.split(tensor.reshape(-1), BLOCK) for tensor in tensors), strict=True)


def matrix_shape(tensor: torch.Tensor) -> tuple[int, int]:
    """The shape (out, in * kh * kw) of a layer's weights as a matrix; (1, 1) for a scalar."""
    return tensor.shape[0] if tensor.ndim else 1, math.prod(tensor.shape[1:])


def is_same(base: torch.Tensor, source: torch.Tensor) -> bool:
    """True if the source's bits are those of the base, cast, on every machine.

    Machines differ in the bits of a cast NaN, so a cast of a NaN is never the same.
    """
    base, source = (side.reshape(matrix_shape(source)) for side in (base, source))
    return all(
        same_bits(round_to(base[first:end], source.dtype), source[first:end])
        and (base.dtype == source.dtype or not bool(torch.isnan(base[first:end]).any()))
        for first, end in row_tiles(*source.shape)
    )


def pair(base: torch.Tensor, source: torch.Tensor) -> Pair | None:
    """Take the difference of two tensors of one shape and of F32, F16 or BF16.

    None if either contains NaN or infinity.
    """
    base, source = (side.reshape(matrix_shape(source)) for side in (base, source))
    single = _pair(base, source, torch.float32)
    if TAME[0] < single.norm / math.sqrt(max(1, source.numel())) < TAME[1]:
        return single
    if not (torch.isfinite(base).all() and torch.isfinite(source).all()):
        return None
    return _pair(base, source, torch.float64)


def _pair(base: torch.Tensor, source: torch.Tensor, dtype: torch.dtype) -> Pair:
    delta = empty(tuple(source.shape), dtype)
    base_square, square = 0.0, 0.0
    ulps = 0.0
    for before, after, difference in blocks(base, source, delta):
        ulps += (mean_square_ulp(before) + mean_square_ulp(after)) * len(before)
        before = before.to(dtype)
        torch.sub(after.to(dtype), before, out=difference)
        base_square += square_sum(before)
        square += square_sum(difference)
    norms = math.sqrt(base_square), math.sqrt(square)
    return Pair(base, source, delta, *norms, ulps / max(1, source.numel()) / 12)


def square_sum(values: torch.Tensor) -> float:
    """The sum of squares of a contiguous CPU tensor, with a relative error of about 1e-6.

    NaN or infinity if the tensor contains one.
    """
    flat: np.ndarray = values.reshape(-1).numpy()
    if flat.dtype == np.float32:
        # Overflow and underflow show in the sum, which is then computed again in float64.
        with np.errstate(all="ignore"):
            whole = flat.size - flat.size % RUN
            runs = flat[:whole].reshape(-1, RUN)
            sums = np.matmul(runs[:, None, :], runs[:, :, None])
            total = float(sums.sum(dtype=np.float64) + flat[whole:] @ flat[whole:])
        if TAME[0] ** 2 < total / max(1, flat.size) < TAME[1] ** 2:
            return total
    return float(torch.square(torch.linalg.vector_norm(values, dtype=torch.float64)))


HALF_PRECISION = {
    torch.float16: (10, -14),
    torch.bfloat16: (7, -126),
}  # mantissa bits, least exponent


def mean_square_ulp(side: torch.Tensor) -> float:
    """The mean of the squared spacing of numbers at each element; 0 for float32.

    Rounding to half precision adds an error whose variance is a twelfth of this.
    """
    if side.dtype not in HALF_PRECISION or not side.numel():
        return 0.0
    mantissa, least = HALF_PRECISION[side.dtype]
    # A float32 without its sign and mantissa bits is the power of two below its magnitude.
    powers = side.to(torch.float32).view(torch.int32).bitwise_and_(0x7F800000).view(torch.float32)
    powers.clamp_min_(2.0**least)
    return float(torch.square(powers.to(torch.float64)).mean()) * 4.0**-mantissa


@dataclass(frozen=True)
class Distance:
    """Frobenius distances of the delta from the true one, and of the rounded result from the source.

    Neither is finite if the result is not.
    """

    delta: float
    result: float


def distance(pair: Pair, product: DeltaProduct) -> Distance:
    """Measure the errors of a delta that is stored as components, a tile at a time."""
    squares = [0.0, 0.0]
    columns = pair.delta.shape[1]
    for first, end in pair.tiles():
        memory = scratch_tensor("distance", (end - first, columns), product.path)
        tile = product.tile(first, end, memory)
        sides = (side[first:end] for side in (pair.delta, pair.base, pair.source))
        for part, delta, base, source in blocks(tile, *sides):
            squares[0] += square_sum(delta - part)
            squares[1] += _square_between(add_tile(base, part, source.dtype), source)
    return Distance(*(math.sqrt(square) for square in squares))


def dense_distance(pair: Pair, values: npt.NDArray[np.int32], exponent: int) -> float:
    """The Frobenius distance from the source of the result of a dense delta."""
    result = apply_dense(pair.base, values, exponent, pair.source.dtype)
    return math.sqrt(_square_between(result, pair.source))


def _square_between(result: torch.Tensor, source: torch.Tensor) -> float:
    wide = torch.promote_types(result.dtype, torch.float32)
    difference = result.to(wide) - source.to(wide)
    # Two finite float32 numbers may be further apart than float32 reaches.
    square = square_sum(difference)
    if math.isfinite(square):
        return square
    return square_sum(result.to(torch.float64) - source.to(torch.float64))
