"""Integers as bytes: zigzag, then byte planes (spec, section "Integers")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]


def width(maximum: int) -> int:
    """Bytes per integer of magnitude at most `maximum`: those that its zigzag form 2*maximum needs."""
    return max(1, ((2 * maximum).bit_length() + 7) // 8)


def zigzag(values: Int32) -> UInt32:
    """0, -1, 1, -2, ... become 0, 1, 2, 3, ...; same shape."""
    coded: UInt32 = ((values << 1) ^ (values >> 31)).view(np.uint32)
    return coded


def unzigzag(values: UInt32) -> Int32:
    """Inverse of `zigzag`."""
    decoded: Int32 = ((values >> 1) ^ (~(values & 1) + 1)).view(np.int32)
    return decoded


def split_planes(values: UInt32, planes: int) -> bytes:
    """All lowest bytes in C order, then all second bytes, ...: `planes * values.size` bytes."""
    return b"".join((values >> (8 * plane)).astype(np.uint8).tobytes() for plane in range(planes))


def join_planes(data: bytes | memoryview, count: int, planes: int) -> UInt32:
    """Inverse of `split_planes`: a flat array of `count` integers."""
    split = np.frombuffer(data, np.uint8).reshape(planes, count)
    values: UInt32 = split[0].astype(np.uint32)
    for plane in range(1, planes):
        values |= split[plane].astype(np.uint32) << (8 * plane)
    return values
