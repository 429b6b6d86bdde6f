"""Exact reconstruction with numpy: the same bits from every BLAS, thread count and CPU.

The product of integer factors is exact in fp32 if its magnitude bound is below 2^24, and in fp64 if
it is below 2^53, whatever the order of the sums. Any library gives the same result, as long as it
uses IEEE arithmetic. Source: spec/dsvd-container-v1.md, section "Reconstruction".
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator

import numpy as np

from .arithmetic import ieee_arithmetic
from .components import Components, Elements, balanced, fit_fp32
from .weights import Floats, Weights, blocks, round_block, scratch, widen

Path = type[np.float32] | type[np.float64]

TILE_ELEMENTS = 1 << 20  # of the result, so that a tile stays in the cache through all steps
TILE_ROWS = 128


class DeltaProduct:
    """The exact (m, n) sum of 2^e a b^T over r components, computed a run of rows at a time.

    `path`: the floating-point type of the product. By default it is float32 where the magnitude
    bound allows it and a test product on this machine was exact, and float64 elsewhere. Several
    threads may use one object.
    """

    def __init__(self, components: Components, path: Path | None = None) -> None:
        self.path = path or fastest_exact_path(components)
        self.columns = components.b.shape[1]
        with ieee_arithmetic():
            self._a, self._b = balanced(components, self.path)

    @property
    def rows(self) -> int:
        return int(self._a.shape[1])

    @property
    def nbytes(self) -> int:
        """The memory that the factors take."""
        return int(self._a.nbytes + self._b.nbytes)

    def run(self, first: int, end: int) -> DeltaProduct:
        """The product of rows first..end-1 only, sharing the memory of the factors."""
        part = copy.copy(self)
        part._a = self._a[:, first:end]
        return part

    def tile(self, first: int, end: int, out: Floats | None = None) -> Floats:
        """Rows first..end-1 of the delta, (end - first, n), of type `path`; every zero is +0.0.

        They are written to `out` if it is given.
        """
        with ieee_arithmetic():
            sums = self._sums(first, end, out)
            return np.add(sums, _ZERO, out=sums)

    def add_to(self, base: Weights, out: Weights) -> None:
        """Write round(base + delta) to `out`. Both are (m, n) and must not share memory."""
        with ieee_arithmetic():
            for first, end in row_tiles(self.rows, self.columns):
                shape, result = (end - first, self.columns), out.rows(first, end)
                is_own = out.dtype == "F32" and self.path is np.float32
                sums = result.words if is_own else scratch.array("sum", shape, self.path)
                _add(base.rows(first, end), self._sums(first, end, sums), result)

    def _sums(self, first: int, end: int, out: Floats | None) -> Floats:
        """Rows as of `tile`, but a library may give -0.0 where all terms of a sum are -0.0."""
        sums: Floats = np.matmul(self._a[:, first:end].T, self._b, out=out)
        return sums


_ZERO = np.float32(0.0)


def add_elements(base: Weights, elements: Elements, out: Weights) -> None:
    """Write round(base + delta) to `out`. Both have one shape and must not share memory."""
    path: Path = np.float32 if elements.fit_fp32() else np.float64
    with ieee_arithmetic():
        scale = path(2.0**elements.exponent)
        for values, words, result in blocks(elements.values, base.words, out.words):
            total = scratch.array("sum", values.shape, path)
            np.multiply(values, scale, out=total, dtype=path, casting="unsafe")
            _add(Weights(words, base.dtype), total, Weights(result, out.dtype))


def cast(weights: Weights, out: Weights) -> None:
    """Write `weights`, rounded to the dtype of `out`, to `out`, which has the same shape."""
    with ieee_arithmetic():
        for words, result in blocks(weights.words, out.words):
            round_block(_wide(words, weights.dtype), out.dtype, result)


def _add(base: Weights, sums: Floats, out: Weights) -> None:
    """Write round(base + sums) to `out`, whose memory may be that of the sums.

    Where the delta fits fp32, one fp32 addition rounds exactly as fp64 followed by fp32 would.
    """
    is_in_place = sums is out.words
    for words, total, result in blocks(base.words, sums, out.words):
        np.add(total, _ZERO, out=total)  # -0.0 becomes +0.0: a delta has no negative zero
        np.add(total, _wide(words, base.dtype), out=total)
        if not is_in_place:
            round_block(total, out.dtype, result)


def _wide(words: Floats, dtype: str) -> Floats:
    """A block of weights as float32, in scratch memory that the thread's next block overwrites."""
    if dtype == "F32":
        return words
    wide = scratch.array("wide", words.shape, np.float32)
    widen(words, dtype, wide)
    return wide


def row_tiles(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Runs of rows, as (first, end), of about `TILE_ELEMENTS` elements, or up to 4 times as many.

    Runs of long rows are larger: each run reads the whole right factor of the product, which is
    worth it only for many rows.
    """
    enough = min(TILE_ROWS, 4 * TILE_ELEMENTS // max(1, columns))
    step = max(1, enough, TILE_ELEMENTS // max(1, columns))
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def fastest_exact_path(components: Components) -> Path:
    """float32 where the product is proved exact in it, else float64. Both give the same bits."""
    return np.float32 if fit_fp32(components) and multiplies_exactly() else np.float64


@functools.cache
def multiplies_exactly() -> bool:
    """True if numpy's fp32 products are exact on this machine, tested once with known integers."""
    a, b = known_factors()
    with ieee_arithmetic():
        result = np.matmul(a.astype(np.float32), b.astype(np.float32))
    return np.array_equal(result.astype(np.int64), a @ b)


def known_factors() -> tuple[np.ndarray, np.ndarray]:
    """Integer matrices (96, 16) and (16, 96) whose product needs all mantissa bits of float32."""
    # Not from numpy.random, which takes longer to import than this test takes.
    numbers = np.arange(1, 2 * 96 * 16 + 1) ** 2 * 7919 % 2047 - 1023
    a, b = numbers.reshape(2, -1)
    return a.reshape(96, 16), b.reshape(16, 96)
