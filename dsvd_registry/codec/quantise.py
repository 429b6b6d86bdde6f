"""Quantisation of weights to 8 and 4 bits, in numpy (spec/dsvd-container-v1.md, "Quantised weights").

Every step is one IEEE operation in binary32, or one on integers, so that the codes are the same on
every machine. Beside each code stands how near its weight was to another one: a weight close to the
border between two codes is the one that a small change moves across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..errors import ContainerError
from .weights import Float32, scratch

Grid = Literal["e4m3", "e5m2", "int8", "e2m1", "map"]
GRIDS: tuple[Grid, ...] = get_args(Grid)
ScaleRule = Literal["divide", "multiply"]
SCALE_RULES: tuple[ScaleRule, ...] = get_args(ScaleRule)

Codes = npt.NDArray[np.uint8]
TILE = 1 << 16  # weights that are quantised at once, so that they stay in the cache
FIRST_CLASS = 4 * 79  # of a distance of 2^-48, in quarters of an octave
LAST_CLASS = 255
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class _FloatGrid:
    """Floats of `bits` bits, of which `mantissa` are the mantissa; normal ones begin at 2^`least`."""

    bits: int
    mantissa: int
    least: int
    largest: float


_FLOATS = {
    "e4m3": _FloatGrid(8, 3, -6, 448.0),
    "e5m2": _FloatGrid(8, 2, -14, 57344.0),
    "e2m1": _FloatGrid(4, 1, 0, 6.0),
}


def code_bits(grid: Grid) -> int:
    """The bits of a code: 8, or 4 of which two share a byte."""
    return 4 if grid in ("e2m1", "map") else 8


@dataclass(frozen=True)
class Quantised:
    """Codes of weights, flat. `classes`: the distance of each weight from the nearest border between
    codes, on a logarithmic scale from 0 to 255. `up`: whether that border is to larger weights.
    """

    codes: Codes
    classes: Codes
    up: npt.NDArray[np.bool_]


def quantise(
    weights: Float32, scales: Float32, grid: Grid, rule: ScaleRule, values: Float32 | None
) -> Quantised:
    """Quantise flat weights. `scales`: one for each, or a single one; each positive, perhaps +inf.

    `values`: the 16 ascending values of the grid `map`. Weights may be infinite or NaN.
    """
    codes = np.empty(len(weights), np.uint8)
    made = Quantised(codes, np.empty_like(codes), np.empty(len(weights), np.bool_))
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / scales if rule == "multiply" else None
        for first in range(0, len(weights), TILE):
            part = slice(first, min(first + TILE, len(weights)))
            own = part if len(scales) > 1 else slice(0, 1)
            x = scratch.array("scaled", (part.stop - first,), np.float32)
            if inverse is None:
                np.divide(weights[part], scales[own], out=x)
            else:
                np.multiply(weights[part], inverse[own], out=x)
            np.copyto(x, np.float32(0), where=np.isnan(x))
            distances = _codes(x, grid, values, made.codes[part], made.up[part])
            distances *= scales[own]
            steps = (distances.view(np.uint32) >> 21).astype(np.int32) - FIRST_CLASS
            made.classes[part] = np.clip(steps, 0, LAST_CLASS)
    return made


def _codes(
    x: Float32, grid: Grid, values: Float32 | None, codes: Codes, up: npt.NDArray[np.bool_]
) -> Float32:
    """Write the codes of `x`, and the sides of the nearest borders; return the distances from these."""
    if grid == "map":
        assert values is not None
        return _map_codes(x, values, codes, up)
    if grid == "int8":
        np.clip(x, np.float32(-128), np.float32(127), out=x)
        whole = np.rint(x)
        codes[:] = whole.astype(np.int8).view(np.uint8)
        x -= whole
        np.greater_equal(x, 0, out=up)
        return _HALF - np.abs(x)
    return _float_codes(x, _FLOATS[grid], codes, up)


def _float_codes(x: Float32, of: _FloatGrid, codes: Codes, up: npt.NDArray[np.bool_]) -> Float32:
    negative = np.signbit(x)
    size = np.minimum(np.abs(x), np.float32(of.largest))
    least = 127 + of.least
    exponent = np.maximum(size.view(np.int32) >> 23, least)
    step = ((exponent - of.mantissa) << 23).view(np.float32)
    size *= ((254 + of.mantissa - exponent) << 23).view(np.float32)  # exact: a power of two
    whole = np.rint(size)
    number = whole.astype(np.int32) + ((exponent - least) << of.mantissa)
    number |= negative.astype(np.int32) << (of.bits - 1)
    codes[:] = number
    size -= whole
    np.not_equal(size >= 0, negative, out=up)
    distances: Float32 = (_HALF - np.abs(size)) * step
    return distances


def _map_codes(x: Float32, values: Float32, codes: Codes, up: npt.NDArray[np.bool_]) -> Float32:
    np.clip(x, values[0], values[-1], out=x)
    infinity = np.full(1, np.inf, np.float32)
    borders = np.concatenate([-infinity, (values[:-1] + values[1:]) * _HALF, infinity])
    found = np.searchsorted(borders[1:-1], x, side="left")
    codes[:] = found
    below, above = x - borders[found], borders[found + 1] - x
    np.less_equal(above, below, out=up)
    distances: Float32 = np.minimum(below, above)
    return distances


def order_of(grid: Grid) -> tuple[Codes, Codes]:
    """The place of each code among all in the order of their values, and the code at each place."""
    bits = code_bits(grid)
    codes: npt.NDArray[np.int64] = np.arange(1 << bits, dtype=np.int64)
    sign = 1 << (bits - 1)
    places: npt.NDArray[np.signedinteger] = codes
    if grid == "int8":
        places = codes ^ np.int64(sign)
    elif grid != "map":
        places = np.where(codes & sign, 2 * sign - 1 - codes, codes + sign)
    at: npt.NDArray[np.int64] = np.empty_like(codes)
    at[places] = codes
    return places.astype(np.uint8), at.astype(np.uint8)


def joined(codes: Codes, bits: int, is_low_first: bool) -> Codes:
    """The bytes of codes; of 4-bit codes, an even number, each byte has two."""
    if bits == 8:
        return codes
    first, second = codes[0::2], codes[1::2]
    low, high = (first, second) if is_low_first else (second, first)
    packed: Codes = np.left_shift(high, np.uint8(4))
    packed |= low
    return packed


def split(data: Codes, bits: int, is_low_first: bool) -> Codes:
    """Inverse of `joined`."""
    if bits == 8:
        return data
    codes = np.empty(2 * len(data), np.uint8)
    low, high = (codes[0::2], codes[1::2]) if is_low_first else (codes[1::2], codes[0::2])
    np.bitwise_and(data, 15, out=low)
    np.right_shift(data, 4, out=high)
    return codes


@dataclass(frozen=True)
class Blocks:
    """The blocks of an (m, n) matrix that have one scale each, `rows` by `columns`.

    `is_tiled`: the scales, a matrix with one for each block, lie in tiles of 128 by 4 as the tensor
    cores read them, padded to whole tiles; else row by row.
    """

    shape: tuple[int, int]
    rows: int
    columns: int
    is_tiled: bool

    @property
    def grid(self) -> tuple[int, int]:
        """The number of blocks along each dimension."""
        return -(-self.shape[0] // self.rows), -(-self.shape[1] // self.columns)

    @property
    def scales(self) -> int:
        """The number of scales, padding included."""
        down, across = self.grid
        return 512 * -(-down // 128) * -(-across // 4) if self.is_tiled else down * across

    def of(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """The numbers of the scales of `count` elements from `first` on; one if all have the same."""
        if self.scales == 1:
            return np.zeros(1, np.int64)
        n = self.shape[1]
        begin, end = first // n, -(-(first + count) // n)
        row = np.arange(begin, end, dtype=np.int64)[:, None] // self.rows
        column = np.arange(n, dtype=np.int64)[None] // self.columns
        across = self.grid[1]
        if self.is_tiled:
            tile = (row // 128) * -(-across // 4) + column // 4
            at = 512 * tile + row % 32 * 16 + row % 128 // 32 * 4 + column % 4
        else:
            at = row * across + column
        return np.broadcast_to(at, (end - begin, n)).reshape(-1)[first - begin * n :][:count]


def usable(scales: Float32) -> Float32:
    """Scales, with +inf for those that are not positive or not finite."""
    with np.errstate(invalid="ignore"):
        good = (scales > 0) & (scales < np.inf)
    return np.where(good, scales, np.float32(np.inf))


_SIGN = {"F8_E4M3": (3, 7), "F8_E5M2": (2, 15)}  # bits of mantissa, bias


def scale_values(data: bytes | bytearray | memoryview, dtype: str) -> Float32:
    """The values of a scale tensor: of a float dtype, or powers of two (F8_E8M0, or U8 for it)."""
    held = np.frombuffer(data, np.uint8)
    if dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype in ("F8_E8M0", "U8"):
        powers = np.ldexp(np.float64(1), np.arange(255) - 127)
        table = np.append(powers, np.nan).astype(np.float32)
        return table[held]
    if dtype not in _SIGN:
        raise ContainerError(f"there are no scales of {dtype}")
    mantissa, bias = _SIGN[dtype]
    codes = np.arange(128)
    exponent, rest = codes >> mantissa, (codes & ((1 << mantissa) - 1)) / (1 << mantissa)
    sizes = np.where(exponent > 0, (1 + rest) * 2.0 ** (exponent - bias), rest * 2.0 ** (1 - bias))
    if dtype == "F8_E4M3":
        sizes[127] = np.nan
    else:
        sizes[124:] = [np.inf, np.nan, np.nan, np.nan]
    return np.concatenate([sizes, -sizes]).astype(np.float32)[held]
