"""Exact reconstruction with numpy: the same bits from every BLAS, thread count and CPU.

Source: spec/dsvd-container-v1.md, section "Reconstruction". Integer factors whose bound is under
2^24 multiply exactly in fp32, under 2^53 in fp64, whatever the order of the sums; so which library
does it, and how, does not matter, as long as it multiplies and adds in IEEE arithmetic.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator

import numpy as np

from .blas_threads import one_blas_thread
from .components import Components, Elements, balanced, fit_fp32
from .scratch import scratch
from .subnormals import subnormals_kept
from .weights import Floats, Weights, blocks, round_block, widen

Path = type[np.float32] | type[np.float64]

TILE_ELEMENTS = 1 << 20  # of the result at a time: it stays in the cache through all steps
TILE_ROWS = 128


class DeltaProduct:
    """sum over components of 2^e a b^T as an exact matrix (m, n), a run of rows at a time.

    `path` is the floating-point type in which the product is exact: float32 where the bound
    allows (and products have been seen to be exact), float64 otherwise. Threads may share it.
    """

    def __init__(self, components: Components, path: Path | None = None) -> None:
        self.path = path or fastest_exact_path(components)
        self.columns = components.b.shape[1]
        with ieee_arithmetic():
            self._a, self._b = balanced(components, self.path)

    @property
    def rows(self) -> int:
        return int(self._a.shape[1])

    def run(self, first: int, end: int) -> DeltaProduct:
        """The product of rows first..end-1 alone, over the same memory."""
        part = copy.copy(self)
        part._a = self._a[:, first:end]
        return part

    def tile(self, first: int, end: int, out: Floats | None = None) -> Floats:
        """Rows first..end-1, (end - first, n), of type `path`, in `out` if given; zero is +0.0."""
        with ieee_arithmetic():
            sums = self._sums(first, end, out)
            return np.add(sums, _ZERO, out=sums)

    def add_to(self, base: Weights, out: Weights) -> None:
        """Write round(base + delta) to `out`, both (m, n), which may not share memory."""
        with ieee_arithmetic():
            for first, end in row_tiles(self.rows, self.columns):
                shape, result = (end - first, self.columns), out.rows(first, end)
                is_own = out.dtype == "F32" and self.path is np.float32
                held = result.words if is_own else scratch.array("sum", shape, self.path)
                _add(base.rows(first, end), self._sums(first, end, held), result)

    def _sums(self, first: int, end: int, out: Floats | None) -> Floats:
        """As `tile`; a library may give -0.0 where all of a sum's terms are -0.0."""
        sums: Floats = np.matmul(self._a[:, first:end].T, self._b, out=out)
        return sums


_ZERO = np.float32(0.0)


def add_elements(base: Weights, elements: Elements, out: Weights) -> None:
    """Write round(base + delta) to `out`, both of one shape, which may not share memory."""
    path: Path = np.float32 if elements.fit_fp32() else np.float64
    scale = path(2.0**elements.exponent)
    with ieee_arithmetic():
        for values, words, result in blocks(elements.values, base.words, out.words):
            total = scratch.array("sum", values.shape, path)
            np.multiply(values, scale, out=total, dtype=path, casting="unsafe")
            _add(Weights(words, base.dtype), total, Weights(result, out.dtype))


def cast(weights: Weights, out: Weights) -> None:
    """Write the weights to `out`, of the same shape, rounded to its dtype."""
    with ieee_arithmetic():
        for words, result in blocks(weights.words, out.words):
            round_block(_wide(words, weights.dtype), out.dtype, result)


def _add(base: Weights, sums: Floats, out: Weights) -> None:
    """round(base + sums) to `out`, which may be the sums themselves.

    Where the delta fits fp32, one fp32 addition rounds as fp64 and then fp32 would.
    """
    is_there = sums is out.words
    for words, total, result in blocks(base.words, sums, out.words):
        np.add(total, _ZERO, out=total)  # or -0.0 + -0.0 would stay; the delta has no such zero
        np.add(total, _wide(words, base.dtype), out=total)
        if not is_there:
            round_block(total, out.dtype, result)


def _wide(words: Floats, dtype: str) -> Floats:
    """A block of weights as float32, gone when the thread asks for the next."""
    if dtype == "F32":
        return words
    wide = scratch.array("wide", words.shape, np.float32)
    widen(words, dtype, wide)
    return wide


def row_tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Runs of rows of about `TILE_ELEMENTS` elements, as (first, end); of long rows, up to 4 times.

    Each run reads the whole of the product's right side, which pays for many rows only.
    """
    enough = min(TILE_ROWS, 4 * TILE_ELEMENTS // max(1, columns))
    step = max(1, enough, TILE_ELEMENTS // max(1, columns))
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def fastest_exact_path(components: Components) -> Path:
    """float32 where it is proved exact, else float64. The choice never changes a bit."""
    return np.float32 if fit_fp32(components) and multiplies_exactly() else np.float64


@functools.cache
def multiplies_exactly() -> bool:
    """Whether fp32 products here are IEEE products: one known integer product is tried, once."""
    a, b = known_factors()
    with ieee_arithmetic():
        found = np.matmul(a.astype(np.float32), b.astype(np.float32))
    return np.array_equal(found.astype(np.int64), a @ b)


def known_factors() -> tuple[np.ndarray, np.ndarray]:
    """Integers (96, 16) and (16, 96) whose product takes all bits that float32 has."""
    numbers = np.random.default_rng(0)
    return numbers.integers(-1023, 1024, (96, 16)), numbers.integers(-1023, 1024, (16, 96))


@contextlib.contextmanager
def ieee_arithmetic() -> Iterator[None]:
    """Subnormal numbers kept, and one thread for each product; the caller's choices come back.

    A BLAS's own threads keep the flushing that they were started with, out of our reach.
    """
    # Overflow shows in the result; some libraries leave flags behind without a reason.
    with one_blas_thread, subnormals_kept(), np.errstate(all="ignore"):
        yield
