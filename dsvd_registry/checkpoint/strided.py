"""Strided tensors in a storage: the positions of their elements, and their bytes in C order.

Offsets and strides are in elements and not negative, as in torch.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import CheckpointError

MAX_SPREAD_BYTES = 4 << 20
"""The most bytes of a tensor that repeats elements of a smaller storage."""


def check_strided(
    shape: tuple[int, ...], strides: tuple[int, ...], offset: int, itemsize: int, storage_size: int
) -> None:
    """Raise `CheckpointError` unless every element is inside a storage of `storage_size` bytes."""
    if len(shape) != len(strides):
        raise CheckpointError(f"it has {len(shape)} dimensions but {len(strides)} strides")
    if not math.prod(shape):
        return
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if (last + 1) * itemsize > storage_size:
        raise CheckpointError(
            f"its element {last} lies outside its storage of {storage_size} bytes"
        )
    if math.prod(shape) * itemsize > max(storage_size, MAX_SPREAD_BYTES):
        raise CheckpointError(f"it spreads a storage of {storage_size} bytes over too many")


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Return whether the elements are in C order without gaps.

    A stride along a dimension of 1 has no meaning.
    """
    if not math.prod(shape):
        return True
    expected = 1
    for n, step in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and step != expected:
            return False
        expected *= n
    return True


def gather(
    storage: memoryview,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    itemsize: int,
) -> memoryview:
    """Copy the bytes of a tensor in C order. `check_strided` must have passed.

    `itemsize` is 1, 2, 4 or 8 bytes; numpy itself checks the bounds once more.
    """
    steps = [0 if n == 1 else step * itemsize for n, step in zip(shape, strides, strict=True)]
    dtype = np.dtype(f"u{itemsize}")
    view = np.ndarray(shape, dtype, storage, offset * itemsize, steps)
    flat = np.ascontiguousarray(view).reshape(-1).view(np.uint8)
    flat.flags.writeable = False
    return flat.data
