"""Conversion of integers to bytes: zigzag coding, then byte planes (spec, section "Integers")."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]

LARGEST_OF_WIDTH = (2**8 - 1, 2**16 - 1, 2**24 - 1)
BLOCK = 1 << 16  # integers that stay in the cache through several steps


def width(maximum: int) -> int:
    """The bytes that integers of magnitude up to `maximum` need in zigzag form."""
    return max(1, ((2 * maximum).bit_length() + 7) // 8)


def widths(maxima: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The `width` of each maximum."""
    result: npt.NDArray[np.int64] = 1 + np.searchsorted(LARGEST_OF_WIDTH, 2 * maxima)
    return result


def zigzag(values: Int32) -> UInt32:
    """The zigzag form: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...; same shape."""
    coded: UInt32 = ((values << 1) ^ (values >> 31)).view(np.uint32)
    return coded


def unzigzag(values: UInt32) -> Int32:
    """Inverse of `zigzag`; the result overwrites `values`, which are in C order."""
    flat = values.reshape(-1)
    for first in range(0, flat.size, BLOCK):
        block = flat[first : first + BLOCK]
        negative = block & 1
        block >>= 1
        block ^= np.negative(negative, out=negative)  # all bits, or none
    return values.view(np.int32)


Coded = TypeVar("Coded", int, npt.NDArray[np.int64])


def magnitude(coded: Coded) -> Coded:
    """The magnitude of the number with the zigzag form `coded`; it never falls as `coded` rises."""
    return (coded + 1) >> 1


def split_planes(values: UInt32, planes: int) -> bytes:
    """Split integers into byte planes: all lowest bytes in C order, then all second bytes, and so on.

    The result has `planes * values.size` bytes.
    """
    return b"".join((values >> (8 * plane)).astype(np.uint8).tobytes() for plane in range(planes))


def join_planes(data: bytes | memoryview, count: int, planes: int) -> UInt32:
    """Inverse of `split_planes`: a flat array of `count` integers."""
    split = np.frombuffer(data, np.uint8).reshape(planes, count)
    values: UInt32 = split[0].astype(np.uint32)
    for plane in range(1, planes):
        for first in range(0, count, BLOCK):
            block = split[plane, first : first + BLOCK].astype(np.uint32)
            values[first : first + BLOCK] |= block << (8 * plane)
    return values
