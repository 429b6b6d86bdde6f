"""Loops over the elements of a run, an element at a time, for a compiler (compiled.py).

They are plain Python too, far too slow for use, so that tests can run them with every index checked.
Every intermediate result is cut to the width of its element, since a compiler may widen it. What
stays in order is in loops of its own, so that a compiler can use vector instructions for them.

A cursor cannot leave its group: `count` counts the very elements that `restore` and `sort` move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 12  # elements whose differences stay in the nearest cache

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.uint64]
Words = npt.NDArray[Any]  # uint16 or uint32
Bools = npt.NDArray[np.bool_]


def count(classes: Words, group_of_class: Bytes, group_of: Bytes, counts: Counts) -> None:
    """Write the group of each element, and add the number of elements in each group to `counts`."""
    for i in range(len(classes)):
        group_of[i] = group_of_class[classes[i]]
    one = np.uint64(1)
    other = np.zeros_like(counts)  # neighbours are often of one group: they need not wait
    for i in range(0, len(classes) - 1, 2):
        counts[group_of[i]] += one
        other[group_of[i + 1]] += one
    if len(classes) % 2:
        counts[group_of[len(classes) - 1]] += one
    counts += other


def restore(
    ordered: Words, group_of: Bytes, cursors: Counts, bits: Words, up: Bools, out: Words
) -> None:
    """Write the source. `cursors`: the first element of each group in `ordered`; they are moved on.

    `up` is empty if no border is up.
    """
    of, one = bits.dtype.type, np.uint64(1)
    last = of(8 * bits.itemsize - 1)
    lowest, highest, turns = of(1), of(1 << (8 * bits.itemsize - 1)), len(up) > 0
    tile = np.empty(BLOCK, bits.dtype)
    for first in range(0, len(bits), BLOCK):
        length = min(BLOCK, len(bits) - first)
        owners, own = group_of[first : first + length], bits[first : first + length]
        ups, result = up[first : first + length], out[first : first + length]
        for i in range(length):
            group = owners[i]
            cursor = cursors[group]
            cursors[group] = cursor + one
            tile[i] = ordered[cursor]
        for i in range(length):  # out of zigzag form
            tile[i] = of(of(tile[i] >> lowest) ^ of(of(0) - of(tile[i] & lowest)))
        if turns:
            for i in range(length):
                turned = of(of(0) - of(ups[i]))
                tile[i] = of(of(tile[i] ^ turned) - turned)
        for i in range(length):
            sign = of(of(0) - of(own[i] >> last))
            place = of(of(own[i] ^ of(sign | highest)) + tile[i])
            sign = of(of(place >> last) - lowest)
            result[i] = of(place ^ of(sign | highest))


def sort(
    source: Words, group_of: Bytes, cursors: Counts, bits: Words, up: Bools, ordered: Words
) -> None:
    """Inverse of `restore`: write differences in zigzag form to `ordered`."""
    of, one = bits.dtype.type, np.uint64(1)
    last = of(8 * bits.itemsize - 1)
    lowest, highest, turns = of(1), of(1 << (8 * bits.itemsize - 1)), len(up) > 0
    tile = np.empty(BLOCK, bits.dtype)
    for first in range(0, len(bits), BLOCK):
        length = min(BLOCK, len(bits) - first)
        owners, own = group_of[first : first + length], bits[first : first + length]
        ups, given = up[first : first + length], source[first : first + length]
        for i in range(length):
            sign = of(of(0) - of(given[i] >> last))
            place = of(given[i] ^ of(sign | highest))
            sign = of(of(0) - of(own[i] >> last))
            tile[i] = of(place - of(own[i] ^ of(sign | highest)))
        if turns:
            for i in range(length):
                turned = of(of(0) - of(ups[i]))
                tile[i] = of(of(tile[i] ^ turned) - turned)
        for i in range(length):  # into zigzag form
            tile[i] = of(of(tile[i] << lowest) ^ of(of(0) - of(tile[i] >> last)))
        for i in range(length):
            group = owners[i]
            cursor = cursors[group]
            cursors[group] = cursor + one
            ordered[cursor] = tile[i]


def join(out: Words, digits: Bytes, low: Bytes, shift: int) -> None:
    """Write (digit << shift) | low bits; `low`: a plane of bytes after another."""
    of = out.dtype.type
    places, planes = of(shift), (shift + 7) // 8
    for first in range(0, len(out), BLOCK):
        length = min(BLOCK, len(out) - first)
        tile, own = out[first : first + length], digits[first : first + length]
        for i in range(length):
            tile[i] = of(of(own[i]) << places)
        for plane in range(planes):
            begin = plane * len(out) + first
            part, up = low[begin : begin + length], of(8 * plane)
            for i in range(length):
                tile[i] = of(tile[i] | of(of(part[i]) << up))


def split(values: Words, shift: int, base: int, digits: Bytes, low: Bytes) -> None:
    """Inverse of `join`, but for digits that overflow: they are base - 1."""
    of = values.dtype.type
    places, most, kept = of(shift), of(base - 1), of((1 << shift) - 1)
    planes = (shift + 7) // 8
    for first in range(0, len(values), BLOCK):
        length = min(BLOCK, len(values) - first)
        tile, own = values[first : first + length], digits[first : first + length]
        for i in range(length):
            own[i] = min(of(tile[i] >> places), most)
        for plane in range(planes):
            begin = plane * len(values) + first
            part, down = low[begin : begin + length], of(8 * plane)
            for i in range(length):
                part[i] = np.uint8(of(of(tile[i] & kept) >> down) & of(255))


def round_bf16(unrounded: Words, bits: Words, up: Bools, classes: Words) -> None:
    """Write predicted BF16 numbers of float32 ones (uint32); see `predicted_floats`."""
    of = np.uint32
    for i in range(len(unrounded)):
        x = unrounded[i]
        low, high = of(x & of(0xFFFF)), of(x >> of(16))
        rounded = of(high + of(of(of(low + of(0x7FFF)) + of(high & of(1))) >> of(16)))
        if of(x & of(0x7FFFFFFF)) > of(0x7F800000):
            rounded = of(high | of(0x40))  # a NaN stays one
        bits[i] = rounded
        up[i] = of(of(low >> of(15)) ^ of(x >> of(31))) == of(0)
        close = of(of(of(low >> of(15)) ^ of(low >> of(14))) & of(1))
        classes[i] = of(of(of(of(rounded >> of(7)) & of(0xFF)) << of(1)) | close)


def round_f16(unrounded: Words, bits: Words, up: Bools, classes: Words) -> None:
    """Write predicted F16 numbers of float32 ones (uint32); see `predicted_floats`."""
    of = np.uint32
    for i in range(len(unrounded)):
        x = unrounded[i]
        size = of(x & of(0x7FFFFFFF))
        normal = of(of(of(size + of(0xFFF)) + of(of(size >> of(13)) & of(1))) >> of(13))
        normal = of(normal - of(112 << 10))  # 127 - 15: where float32's exponents begin
        # Below 2^-14 the last bit is worth 2^-24. The shift is 14 there, and more for less.
        exponent = of(size >> of(23))
        shift = of(of(126) - max(of(101), min(exponent, of(112))))
        mantissa = of(of(size & of(0x7FFFFF)) | of(0x800000))
        half = of(of(of(1) << of(shift - of(1))) - of(1))
        small = of(of(of(mantissa + half) + of(of(mantissa >> shift) & of(1))) >> shift)
        rounded = normal if exponent > of(112) else small
        if size >= of(0x477FF000):  # 65520, halfway between the largest float16 and 2^16
            rounded = of(0x7C00)
        if size > of(0x7F800000):
            rounded = of(0x7E00)
        rounded = of(rounded | of(of(x >> of(16)) & of(0x8000)))
        bits[i] = rounded
        up[i] = of(of(of(x >> of(12)) & of(1)) ^ of(x >> of(31))) == of(0)
        close = of(of(of(x >> of(12)) ^ of(x >> of(11))) & of(1))
        classes[i] = of(of(of(of(rounded >> of(10)) & of(0x1F)) << of(1)) | close)
