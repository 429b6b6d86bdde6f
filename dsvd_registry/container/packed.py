"""The layout of rows by the feature `packed` (spec, section "Feature: packed").

zstd codes each byte with a whole number of bits. Several small integers share a byte here, so that
this comes near their entropy. Rows of similar magnitude are neighbours, so that one code suits
them.
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

# For each largest magnitude M, the number of digits of base 2 M + 1 that fit into a byte.
DIGITS = {1: 5, 2: 3, 3: 2, 4: 2, 5: 2, 6: 2, 7: 2}

Bytes2D = npt.NDArray[np.uint8]


class Packed:
    """The layout `packed`: digits of small integers share bytes, rows are sorted by magnitude."""

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
    """The rows of one magnitude class in a group: their digits, or one of their byte planes."""

    plane: int
    magnitude: int  # the class
    rows: Int64  # indices into the group
    width: int  # bytes of a row

    @property
    def key(self) -> tuple[int, int]:
        return self.plane, self.magnitude

    @property
    def size(self) -> int:
        return len(self.rows) * self.width


def _runs(rows: Rows) -> Iterator[_Run]:
    """The runs of a group, in the order of their keys."""
    classes, places = np.unique(_class(rows.maxima), return_inverse=True)
    class_widths = widths(classes)
    for plane in range(int(class_widths.max())):
        for number in np.flatnonzero(class_widths > plane).tolist():
            magnitude = int(classes[number])
            width = -(-rows.length // DIGITS.get(magnitude, 1))
            yield _Run(plane, magnitude, np.flatnonzero(places == number), width)


def _class(maxima: Int64) -> Int64:
    """The magnitude class of each maximum: its four leading bits, which determine its width."""
    low = np.maximum(0, np.frexp(maxima.astype(np.float64))[1].astype(np.int64) - 4)
    return maxima >> low << low


def _packed(coded: UInt32, run: _Run) -> Bytes2D:
    """Rows of coded integers (k, length) as bytes (k, width)."""
    digits = DIGITS.get(run.magnitude, 1)
    if digits == 1:
        return (coded >> (8 * run.plane)).astype(np.uint8)
    total = np.zeros((len(coded), run.width), np.uint8)
    for place in reversed(range(digits)):  # Horner's rule; digits beyond the end of a row are 0
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
    """Unpack rows of `length` digits from rows of bytes. Raises `ContainerError` for excess digits."""
    digits = _table(maximum)[data].reshape(len(data), -1)
    if digits[:, length:].any():
        raise ContainerError("a row has digits behind its end, or a byte that is no digits")
    return digits[:, :length]


@functools.cache
def _table(maximum: int) -> Bytes2D:
    """The digits of each byte, (256, digits); the last digit of an invalid byte is too large."""
    base, count = 2 * maximum + 1, DIGITS[maximum]
    left = np.arange(256)
    table = np.empty((256, count), np.uint8)
    for place in range(count - 1):
        left, table[:, place] = np.divmod(left, base)
    table[:, count - 1] = left
    return table


PACKED = Packed()
