"""Exact reconstruction: the same bits from every GEMM, thread count, CPU and device.

Source: spec/dsvd-container-v1.md, section "Reconstruction". Integer factors whose bound is under
2^24 multiply exactly in fp32, under 2^53 in fp64, whatever the order of the sums; so which library
does it, and how, does not matter, as long as it multiplies and adds in IEEE arithmetic.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .blas_threads import one_blas_thread
from .bound import EXACT_FP32, magnitude_bound
from .products import product
from .scratch import scratch
from .tensors import round_into, round_to
from .torch_settings import ieee_products, one_thread_each

CPU = torch.device("cpu")
TILE_ELEMENTS = 1 << 20  # of the result at a time: it stays in the cache through all steps
TILE_ROWS = 128
BLOCK_ELEMENTS = 1 << 16  # of factors, where each number is looked at alone


@dataclass(frozen=True)
class Components:
    """r components: integers `a` int32 (r, m) and `b` int32 (r, n), `exponents` int64 (r,)."""

    a: npt.NDArray[np.int32]
    b: npt.NDArray[np.int32]
    exponents: npt.NDArray[np.int64]

    def maxima(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """max|a_c| and max|b_c|, int64 (r,)."""
        # Of both ends apart: the magnitude of the least int32 is not an int32.
        largest_a, largest_b = (
            np.maximum(factor.max(axis=1).astype(np.int64), -factor.min(axis=1).astype(np.int64))
            for factor in (self.a, self.b)
        )
        return largest_a, largest_b


class DeltaProduct:
    """sum over components of 2^e a b^T as an exact matrix (m, n), a run of rows at a time.

    `path` is the floating-point type in which the product is exact: float32 where the bound
    allows (and `device` has been seen to multiply exactly), float64 otherwise. Threads may share it.
    """

    def __init__(
        self,
        components: Components,
        device: torch.device | str = CPU,
        path: torch.dtype | None = None,
    ) -> None:
        device = torch.device(device)
        least = int(components.exponents.min())
        shifts = components.exponents - least
        half = shifts // 2
        self.path = path or fastest_exact_path(components, device)
        self.columns = components.b.shape[1]
        # With 2^least on one side every term, and every sum of terms, is 0 or at least 2^-126 and
        # below 2^127: no number on the way is subnormal, whatever a library makes of those.
        with ieee_arithmetic(device):
            self._a = _scaled(components.a, half + least, self.path, device)
            self._b = _scaled(components.b, shifts - half, self.path, device)

    @property
    def rows(self) -> int:
        return self._a.shape[1]

    def run(self, first: int, end: int) -> DeltaProduct:
        """The product of rows first..end-1 alone, over the same memory."""
        part = copy.copy(self)
        part._a = self._a[:, first:end]
        return part

    def tile(self, first: int, end: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """Rows first..end-1, (end - first, n), dtype `path`, in `out` if given; zero is always +0.0."""
        sums = _multiply(self._a[:, first:end].T, self._b, out)
        # A library may give -0.0 where all of a sum's terms are -0.0; the sum has no such zero.
        return sums.add_(0.0)


def apply_delta(
    base: torch.Tensor, product: DeltaProduct, dtype: torch.dtype, out: torch.Tensor
) -> None:
    """Write round(base + delta) to `out`, shape (m, n), dtype `dtype`. `base` is (m, n).

    They may not share memory.
    """
    with ieee_arithmetic(base.device):
        for first, end in row_tiles(product.rows, product.columns):
            if base.device.type == "cpu":
                _add_on_cpu(base[first:end], product, first, end, out[first:end])
            else:
                out[first:end] = add_tile(base[first:end], product.tile(first, end), dtype)


def _add_on_cpu(
    base: torch.Tensor, product: DeltaProduct, first: int, end: int, out: torch.Tensor
) -> None:
    """`add_tile` without fresh memory: in `out` itself where that is of the product's dtype."""
    shape, path = (end - first, product.columns), product.path
    total = out if out.dtype == path else scratch.tensor("sum", shape, path)
    product.tile(first, end, total)
    if base.dtype != path:
        base = scratch.tensor("summand", shape, path).copy_(base)
    total.add_(base)
    if total is not out:
        round_into(total, out)


def add_tile(base: torch.Tensor, tile: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """round(base + tile) for rows of the base and the product's tile of the same rows.

    Where the delta fits fp32, one fp32 addition rounds as fp64 and then fp32 would.
    """
    return round_to(base.to(tile.dtype) + tile, dtype)


def row_tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Runs of rows of about `TILE_ELEMENTS` elements, as (first, end); of long rows, up to 4 times.

    Each run reads the whole of the product's right side, which pays for many rows only.
    """
    enough = min(TILE_ROWS, 4 * TILE_ELEMENTS // max(1, columns))
    step = max(1, enough, TILE_ELEMENTS // max(1, columns))
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def apply_dense(
    base: torch.Tensor, values: npt.NDArray[np.int32], exponent: int, dtype: torch.dtype
) -> torch.Tensor:
    """round(base + values * 2^exponent), of the shape of `base`; `values` int32, flat."""
    largest = max(int(values.max()), -int(values.min())) if values.size else 0
    # An integer of 24 bits times a power of two is a float32, and one addition rounds as two would.
    path = torch.float32 if largest < EXACT_FP32 else torch.float64
    with ieee_arithmetic(base.device):
        total = torch.from_numpy(values).to(base.device, path).mul_(2.0**exponent)
        return round_to(total.reshape(base.shape).add_(base), dtype)


def fastest_exact_path(components: Components, device: torch.device) -> torch.dtype:
    """float32 where it is proved exact, else float64. The choice never changes a bit."""
    max_a, max_b = (maxima.tolist() for maxima in components.maxima())
    exponents = components.exponents.tolist()
    bound = magnitude_bound(exponents, max_a, max_b)
    least = min(exponents)
    if bound.bit_length() + least > 127:  # fp64 reaches further than fp32
        return torch.float64
    if bound >= EXACT_FP32 and _row_bound(components) >= EXACT_FP32:
        return torch.float64
    return torch.float32 if multiplies_exactly(device) else torch.float64


def _row_bound(components: Components) -> float:
    """Cauchy-Schwarz on the balanced factors: the largest row norm of a times that of b.

    It bounds the sum of the magnitudes of any subset of the terms too. The margin covers the
    rounding of the norms themselves.
    """
    shifts = components.exponents - components.exponents.min()
    largest = 1 + 1e-9
    for factor, half in ((components.a, shifts // 2), (components.b, shifts - shifts // 2)):
        squares = np.zeros(factor.shape[1])
        scales = np.ldexp(1.0, half)[:, None]
        step = max(1, BLOCK_ELEMENTS // factor.shape[1])
        for first in range(0, len(factor), step):
            block = factor[first : first + step].astype(np.float64)
            block *= scales[first : first + step]
            squares += np.einsum("ci,ci->i", block, block)
        largest *= float(np.sqrt(squares.max()))
    return largest


def _multiply(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """The product of two matrices, in `out` if that is given."""
    return product(a, b, out) if a.device.type == "cpu" else torch.mm(a, b, out=out)


@functools.cache
def multiplies_exactly(device: torch.device) -> bool:
    """Whether fp32 products here are IEEE products: one known integer product is tried, once."""
    generator = torch.Generator(device=CPU).manual_seed(0)
    a = torch.randint(-1023, 1024, (96, 16), generator=generator, device=CPU)
    b = torch.randint(-1023, 1024, (16, 96), generator=generator, device=CPU)
    with ieee_arithmetic(device):
        found = _multiply(a.to(device, torch.float32), b.to(device, torch.float32))
    return torch.equal(found.cpu().to(torch.int64), a @ b)


@contextlib.contextmanager
def ieee_arithmetic(device: torch.device) -> Iterator[None]:
    """Autocast off, matmul precision IEEE, subnormal numbers kept; the caller's choices come back."""
    # Said in full: the caller may have set another default dtype or device.
    probe = torch.tensor(2.0**-127, dtype=torch.float32, device="cpu")
    flushes = device.type == "cpu" and not bool(probe * 1.0)
    if flushes:
        torch.set_flush_denormal(False)
    try:
        # torch's own threads keep the flushing that they were started with, out of our reach.
        with (
            _one_thread() if device.type == "cpu" else contextlib.nullcontext(),
            ieee_products,
            torch.autocast(device.type, enabled=False),
            torch.no_grad(),
        ):
            yield
    finally:
        if flushes:
            torch.set_flush_denormal(True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    with one_thread_each, one_blas_thread:
        yield


def _scaled(
    factor: npt.NDArray[np.int32],
    exponents: npt.NDArray[np.int64],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """Integers (r, m) times 2^exponent, exact: in range by the bound, and no mantissa bit moves."""
    scaled = np.empty(factor.shape, np.float32 if dtype == torch.float32 else np.float64)
    scales = np.ldexp(1.0, exponents).astype(scaled.dtype)[:, None]
    np.multiply(factor, scales, out=scaled, dtype=scaled.dtype, casting="unsafe")
    return torch.from_numpy(scaled).to(device)
