"""Rows of integers in a frame: what they are, and what a layout of them can do.

A part of a low-rank tensor is two groups of rows, those of a and those of b of its components; a part
of a dense tensor is one row. How they become bytes is the layout's: planes.py is that of version 1,
packed.py that of its feature `packed`.
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

LEAST_BLOCK, MOST_BLOCK = 2 << 10, 32 << 10  # bytes; of a block of zstd, which may have 128 KiB

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
    """Bytes that stand together in a frame, in rising order of `key`; of equal ones as they came."""

    key: tuple[int, int]
    data: bytes

    @staticmethod
    def alone(data: bytes) -> tuple[Run]:
        """All that a part has."""
        return (Run((0, 0), data),)


class FrameRows(Protocol):
    """Where each group of rows stands in one frame."""

    def read(self, content: memoryview, group: int, out: Int32) -> Int64:
        """Write a group's integers over `out` (rows, length), C order; `content` is the frame.

        Gives the largest magnitude in each row, int64 (rows,). Raises `ContainerError` for bytes
        that are no integers.
        """


class Layout(Protocol):
    """How rows become the bytes of a frame."""

    def size(self, rows: Rows) -> int:
        """Bytes that a group takes."""

    def pack(self, values: Int32, rows: Rows) -> Iterator[Run]:
        """`values` (rows, length) as runs; no magnitude is over its row's maximum."""

    def frame(self, groups: Sequence[Rows]) -> FrameRows:
        """A frame of these groups, in the order of its parts."""


def blocks(runs: Iterable[Run]) -> Iterator[bytes]:
    """A frame's bytes, cut so that each block may have a code of its own.

    Where another class begins, unless the block is still too short to be worth the code's bytes,
    and where it grows long.
    """
    held = b""
    for _, of_class in itertools.groupby(sorted(runs, key=_key), _key):
        if len(held) >= LEAST_BLOCK:
            yield held
            held = b""
        held += b"".join(run.data for run in of_class)
        for _ in range((len(held) - 1) // MOST_BLOCK):
            yield held[:MOST_BLOCK]
            held = held[MOST_BLOCK:]
    if held:
        yield held
