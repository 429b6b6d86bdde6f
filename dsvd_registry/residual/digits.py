"""Packing of small integers as digits that share bytes (spec, "Digits").

zstd codes each byte with a whole number of bits. If most integers are equal, several must share a
byte for the code to come near their entropy.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ContainerError

BASES = (2, 4, 6, 16, 256)

Digits = npt.NDArray[np.uint8]


@functools.cache
def per_byte(base: int) -> int:
    """The number of digits of `base` that fit into a byte."""
    count = 1
    while base ** (count + 1) <= 256:
        count += 1
    return count


def digit_bytes(count: int, base: int) -> int:
    """The bytes that `count` digits take."""
    return -(-count // per_byte(base))


def pack_digits(digits: Digits, base: int) -> Digits:
    """Pack flat `digits`, each below `base`, into bytes; the first digit of a byte is its lowest."""
    room = per_byte(base)
    if room == 1:
        return digits
    padded = np.zeros(room * digit_bytes(len(digits), base), np.uint8)
    padded[: len(digits)] = digits
    columns = padded.reshape(-1, room)
    total = columns[:, room - 1].copy()
    for place in reversed(range(room - 1)):
        total *= np.uint8(base)
        total += columns[:, place]
    return total


def unpack_digits(data: memoryview, count: int, base: int) -> Digits:
    """Inverse of `pack_digits`. Raises `ContainerError` for a byte that encodes no digits."""
    held = np.frombuffer(data, np.uint8)
    if per_byte(base) == 1:
        return held
    if base ** per_byte(base) < 256 and len(held) and int(held.max()) >= base ** per_byte(base):
        raise ContainerError("a byte of a run is no digits")
    digits: Digits = np.take(_table(base), held, axis=0).reshape(-1).view(np.uint8)
    if digits[count:].any():
        raise ContainerError("a run has digits behind its end")
    return digits[:count]


@functools.cache
def _table(base: int) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The digits of each byte: (256,) numbers of as many bytes, or (256, digits) if there are none."""
    left = np.arange(256)
    table = np.empty((256, per_byte(base)), np.uint8)
    for place in range(per_byte(base)):
        left, table[:, place] = np.divmod(left, base)
    return table if per_byte(base) == 3 else table.view(f"u{per_byte(base)}").reshape(256)
