"""Rows as the feature `packed` lays them out (spec, section "Feature: packed").

Small integers share a byte, so that a code of whole bits for each byte, which is what zstd has, comes
near their entropy; and rows of like magnitude stand together, so that one code suits its block.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ContainerError
from .integers import Int32, UInt32, magnitude, unzigzag, widths, zigzag
from .rows import FrameRows, Int64, Rows, Run

# By the largest magnitude M: how many digits of base 2 M + 1 a byte has room for.
DIGITS = {1: 5, 2: 3, 3: 2, 4: 2, 5: 2, 6: 2, 7: 2}

Bytes2D = npt.NDArray[np.uint8]


class Packed:
    """A layout: digits of small integers in shared bytes, rows in order of their magnitude."""

    def size(self, rows: Rows) -> int:
        return sum(run.size for run in _runs(rows))

    def pack(self, values: Int32, rows: Rows) -> Iterator[Run]:
        coded = zigzag(values)
        for run in _runs(rows):
            yield Run(run.key, _packed(coded[run.rows], run).tobytes())

    def frame(self, groups: Sequence[Rows]) -> FrameRows:
        return _Frame(groups)


@dataclass(frozen=True)
class _Run:
    """The rows of a group that are of one class: their digits, or one of their byte planes."""

    plane: int
    magnitude: int  # their class
    rows: Int64  # their places in the group
    width: int  # bytes of a row

    @property
    def key(self) -> tuple[int, int]:
        return self.plane, self.magnitude

    @property
    def size(self) -> int:
        return len(self.rows) * self.width


def _runs(rows: Rows) -> Iterator[_Run]:
    """Those of a group, in the order of their keys."""
    classes, places = np.unique(_class(rows.maxima), return_inverse=True)
    taken = widths(classes)
    for plane in range(int(taken.max())):
        for number in np.flatnonzero(taken > plane).tolist():
            magnitude = int(classes[number])
            width = -(-rows.length // DIGITS.get(magnitude, 1))
            yield _Run(plane, magnitude, np.flatnonzero(places == number), width)


def _class(maxima: Int64) -> Int64:
    """Of each maximum its four leading bits, the others 0; those of one class have one width."""
    low = np.maximum(0, np.frexp(maxima.astype(np.float64))[1].astype(np.int64) - 4)
    return maxima >> low << low


def _packed(coded: UInt32, run: _Run) -> Bytes2D:
    """Rows of coded integers (k, length) as bytes (k, width)."""
    digits = DIGITS.get(run.magnitude, 1)
    if digits == 1:
        return (coded >> (8 * run.plane)).astype(np.uint8)
    total = np.zeros((len(coded), run.width), np.uint8)
    for place in reversed(range(digits)):  # Horner's rule; what is beyond the row's end is 0
        total *= np.uint8(2 * run.magnitude + 1)
        digit = coded[:, place::digits]
        total[:, : digit.shape[1]] += digit.astype(np.uint8)
    return total


class _Frame:
    def __init__(self, groups: Sequence[Rows]) -> None:
        self._runs = [list(_runs(rows)) for rows in groups]
        self._starts: list[list[int]] = [[0] * len(runs) for runs in self._runs]
        position = 0
        for _, group, number in sorted(
            (run.key, group, number)
            for group, runs in enumerate(self._runs)
            for number, run in enumerate(runs)
        ):
            self._starts[group][number] = position
            position += self._runs[group][number].size

    def read(self, content: memoryview, group: int, out: Int32) -> Int64:
        coded = out.view(np.uint32)
        for run, start in zip(self._runs[group], self._starts[group], strict=True):
            data = np.frombuffer(content[start : start + run.size], np.uint8)
            data = data.reshape(len(run.rows), run.width)
            if run.magnitude in DIGITS:
                coded[run.rows] = _digits(data, run.magnitude, out.shape[1])
            elif run.plane == 0:
                coded[run.rows] = data
            else:
                coded[run.rows] |= data.astype(np.uint32) << (8 * run.plane)
        largest: Int64 = magnitude(coded.max(axis=1).astype(np.int64))
        unzigzag(coded)
        return largest


def _digits(data: Bytes2D, maximum: int, length: int) -> Bytes2D:
    """Rows of `length` digits out of rows of bytes. Raises `ContainerError` if more are there."""
    digits = _table(maximum)[data].reshape(len(data), -1)
    if digits[:, length:].any():
        raise ContainerError("a row has digits behind its end, or a byte that is no digits")
    return digits[:, :length]


@functools.cache
def _table(maximum: int) -> Bytes2D:
    """The digits of each byte, (256, digits). The last one is whatever is left, and may be too large."""
    base, count = 2 * maximum + 1, DIGITS[maximum]
    left = np.arange(256)
    table = np.empty((256, count), np.uint8)
    for place in range(count - 1):
        left, table[:, place] = np.divmod(left, base)
    table[:, count - 1] = left
    return table


PACKED = Packed()
