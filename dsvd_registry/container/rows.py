"""Rows of integers in a frame, and the interface of their layouts.

A part of a low-rank tensor consists of two groups of rows, one for the a and one for the b of its
components. A part of a dense tensor is a single row. A layout turns rows into bytes: planes.py is
the layout of plain version 1, packed.py that of the feature `packed`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .integers import Int32

Int64 = npt.NDArray[np.int64]

LEAST_BLOCK, MOST_BLOCK = 2 << 10, 32 << 10  # bytes of a zstd block, whose limit is 128 KiB

_key = attrgetter("key")


@dataclass(frozen=True)
class Rows:
    """A group of rows of `length` integers each, int32; row i has magnitudes up to `maxima[i]`.

    `maxima`: int64 (rows,), each in [1, 2^31 - 1].
    """

    length: int
    maxima: Int64

    @staticmethod
    def one(length: int, maximum: int) -> Rows:
        """A group of a single row."""
        return Rows(length, np.array([maximum], np.int64))


@dataclass(frozen=True)
class Run:
    """Bytes that stay together in a frame. Runs are sorted by `key`, in a stable order."""

    key: tuple[int, int]
    data: bytes

    @staticmethod
    def alone(data: bytes) -> tuple[Run]:
        """The bytes of a part as its only run."""
        return (Run((0, 0), data),)


class FrameRows(Protocol):
    """The positions of all groups of rows in one frame."""

    def read(self, content: memoryview, group: int, out: Int32) -> Int64:
        """Write a group's integers to `out`, int32 (rows, length) in C order.

        `content`: the decompressed frame. Returns the largest magnitude in each row, int64 (rows,).
        Raises `ContainerError` for bytes that encode no integers.
        """


class Layout(Protocol):
    """A way to encode rows as the bytes of a frame."""

    def size(self, rows: Rows) -> int:
        """The bytes that a group takes."""

    def pack(self, values: Int32, rows: Rows) -> Iterator[Run]:
        """Encode `values` (rows, length) as runs; no magnitude exceeds the maximum of its row."""

    def frame(self, groups: Sequence[Rows]) -> FrameRows:
        """The positions of these groups, in the order of the frame's parts."""


def blocks(runs: Iterable[Run]) -> Iterator[bytes]:
    """Split a frame's bytes into blocks, so that zstd gives each block a code of its own.

    A new block begins where the key changes, unless the current block is too short to be worth the
    bytes of a code, and where a block would grow too long.
    """
    block = b""
    for _, of_class in itertools.groupby(sorted(runs, key=_key), _key):
        if len(block) >= LEAST_BLOCK:
            yield block
            block = b""
        block += b"".join(run.data for run in of_class)
        for _ in range((len(block) - 1) // MOST_BLOCK):
            yield block[:MOST_BLOCK]
            block = block[MOST_BLOCK:]
    if block:
        yield block
