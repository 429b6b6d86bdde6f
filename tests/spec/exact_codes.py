"""Codes of quantised weights in exact fractions: the tests' own third reading of the spec.

A code is looked for among all numbers of its grid, not worked out from the bits of the weight.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from fractions import Fraction

from .exact import NotFinite, rounded

# Bits of the mantissa, exponent of the least normal number, codes of finite numbers without a sign.
FLOATS = {"e4m3": (3, -6, 127), "e5m2": (2, -14, 124), "e2m1": (1, 0, 8)}


def numbers(grid: str) -> list[Fraction]:
    """The numbers of the codes 0, 1, ... of a grid of floats, all that are finite and not negative."""
    p, least, count = FLOATS[grid]
    found = []
    for code in range(count):
        e, m = divmod(code, 2**p)
        whole = m + 2**p if e else m
        found.append(Fraction(2) ** (max(e, 1) - 1 + least - p) * whole)
    return found


def single(x: Fraction) -> float:
    """RN_f32; what is over the range becomes an infinity."""
    try:
        return float(rounded(x, "F32"))
    except NotFinite:
        return math.copysign(math.inf, x)


def times(a: float, b: float) -> float:
    """The product in binary32."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b
    found = single(Fraction(a) * Fraction(b))
    return math.copysign(found, math.copysign(1, a) * math.copysign(1, b))


def over(a: float, b: float) -> float:
    """The quotient in binary32."""
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.nan if math.isinf(a) and math.isinf(b) else a / b
    found = single(Fraction(a) / Fraction(b))
    return math.copysign(found, math.copysign(1, a) * math.copysign(1, b))


def usable(scale: float) -> float:
    return scale if 0 < scale < math.inf else math.inf


def code(weight: float, scale: float, grid: str, rule: str, values: Sequence[float] = ()) -> int:
    """The code of a weight of binary32 by one scale S."""
    x = over(weight, scale) if rule == "divide" else times(weight, over(1.0, scale))
    if math.isnan(x):
        x = 0.0
    if grid == "map":
        y = Fraction(min(max(x, values[0]), values[-1]))
        sums = [single(Fraction(a) + Fraction(b)) for a, b in itertools.pairwise(values)]
        return sum(Fraction(times(one, 0.5)) < y for one in sums)
    if grid == "int8":
        return round(Fraction(min(max(x, -128.0), 127.0))) % 256
    known = numbers(grid)
    y = Fraction(min(abs(x), float(known[-1])))
    distances = [abs(y - one) for one in known]
    nearest = [i for i, off in enumerate(distances) if off == min(distances)]
    found = next(i for i in nearest if len(nearest) == 1 or i % 2 == 0)
    half = 8 if grid == "e2m1" else 128
    return found + (half if math.copysign(1, x) < 0 else 0)


def packed(codes: Sequence[int], order: str = "") -> bytes:
    """A byte for each code, or for two of 4 bits with an order."""
    if not order:
        return bytes(codes)
    pairs = zip(codes[::2], codes[1::2], strict=True)
    return bytes(a | b << 4 if order == "low" else b | a << 4 for a, b in pairs)


def place_of(u: int, grid: str) -> int:
    """The place of a code among all in the order of their values."""
    if grid == "map":
        return u
    half = 8 if grid == "e2m1" else 128
    if grid == "int8":
        return u ^ half
    return 2 * half - 1 - u if u & half else u + half


def predicted(
    weight: float, scale: float, grid: str, rule: str, values: Sequence[float] = ()
) -> tuple[int, int, bool]:
    """The code of a finite weight, its class, and whether the nearest border is to larger numbers."""
    x = over(weight, scale) if rule == "divide" else times(weight, over(1.0, scale))
    if grid == "map":
        y = Fraction(min(max(x, values[0]), values[-1]))
        sums = [single(Fraction(a) + Fraction(b)) for a, b in itertools.pairwise(values)]
        borders = [Fraction(times(one, 0.5)) for one in sums]
        k = sum(one < y for one in borders)
        below = single(y - borders[k - 1]) if k else math.inf
        above = single(borders[k] - y) if k < 15 else math.inf
        return k, class_of(times(min(below, above), scale)), above <= below
    if grid == "int8":
        y = Fraction(min(max(x, -128.0), 127.0))
        f = single(y - round(y))
        half = single(Fraction(1, 2) - abs(Fraction(f)))
        return round(y) % 256, class_of(times(half, scale)), f >= 0
    p, least, _ = FLOATS[grid]
    y = Fraction(min(abs(x), float(numbers(grid)[-1])))
    e = least
    while Fraction(2) ** (e + 1) <= y:
        e += 1
    h = Fraction(2) ** (e - p)
    f = single(y / h - round(y / h))
    a = times(single(Fraction(1, 2) - abs(Fraction(f))), float(h))
    sign = math.copysign(1, x) < 0
    return code(weight, scale, grid, rule), class_of(times(a, scale)), (f >= 0) != sign


def class_of(g: float) -> int:
    """Quarters of an octave from 2^-48 on."""
    if math.isnan(g) or g == math.inf:
        return 255
    bits: int = struct.unpack("<I", struct.pack("<f", g))[0]
    return min(255, max(0, (bits >> 21) - 316))
