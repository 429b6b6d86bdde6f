"""Rows of integers in a frame: what they are, and what a layout of them can do.

A part of a low-rank tensor is two groups of rows, those of a and those of b of its components; a part
of a dense tensor is one row. How they become bytes is the layout's: planes.py is that of version 1,
packed.py that of its feature `packed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .integers import Int32

Int64 = npt.NDArray[np.int64]


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


def joined(runs: Iterable[Run]) -> bytes:
    """A frame's bytes."""
    return b"".join(run.data for run in sorted(runs, key=attrgetter("key")))
