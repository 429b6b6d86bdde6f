"""Rows of integers as bytes of a frame: zigzag coding, then strings of bytes (spec, "Rows").

A part of a low-rank tensor consists of two groups of rows, one for the a and one for the b of its
components. A part of a dense tensor is a single row. zstd codes each byte with a whole number of bits:
several small integers share a byte here, so that this comes near their entropy, and rows of similar
magnitude are neighbours, so that one code suits them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ContainerError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]

BLOCK = 1 << 16  # integers that stay in the cache through several steps


def width(maximum: int) -> int:
    """The bytes that integers of magnitude up to `maximum` need in zigzag form."""
    return max(1, ((2 * maximum).bit_length() + 7) // 8)


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


Coded = TypeVar("Coded", int, Int64)


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


LEAST_BLOCK, MOST_BLOCK = 2 << 10, 32 << 10  # bytes of a zstd block, whose limit is 128 KiB

_key, _size = attrgetter("key"), attrgetter("size")


@dataclass(frozen=True)
class Rows:
    """A group of rows of `length` integers each, int32; row i has magnitudes up to `maxima[i]`.

    `maxima`: int64 (rows,), each in [1, 2^31 - 1].
    """

    length: int
    maxima: Int64

    @property
    def nbytes(self) -> int:
        """The bytes that the group takes in a frame."""
        return sum(map(_size, _runs(self)))

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


# For each largest magnitude M, the number of digits of base 2 M + 1 that fit into a byte.
DIGITS = {1: 5, 2: 3, 3: 2, 4: 2, 5: 2, 6: 2, 7: 2}

Bytes2D = npt.NDArray[np.uint8]


def pack_rows(values: Int32, rows: Rows) -> list[Run]:
    """Encode `values` (rows, length) as runs; no magnitude exceeds the maximum of its row."""
    coded = zigzag(values)
    return [Run(run.key, _packed(coded[run.rows], run).tobytes()) for run in _runs(rows)]


class _Run(NamedTuple):
    """The rows of one magnitude class in a group: their digits, or one of their byte planes."""

    plane: int
    magnitude: int  # the class
    rows: list[int]  # indices into the group
    width: int  # bytes of a row

    @property
    def key(self) -> tuple[int, int]:
        return self.plane, self.magnitude

    @property
    def size(self) -> int:
        return len(self.rows) * self.width


def _runs(rows: Rows) -> Iterator[_Run]:
    """The runs of a group, in the order of their keys.

    A group has few rows and a frame many groups: plain integers are faster here than arrays.
    """
    by_class: dict[int, list[int]] = {}
    for row, maximum in enumerate(rows.maxima.tolist()):
        by_class.setdefault(_class(maximum), []).append(row)
    classes = [(magnitude, width(magnitude)) for magnitude in sorted(by_class)]
    for plane in range(classes[-1][1]):
        for magnitude, planes in classes:
            if planes > plane:
                row_width = -(-rows.length // DIGITS.get(magnitude, 1))
                yield _Run(plane, magnitude, by_class[magnitude], row_width)


@functools.lru_cache(4096)
def _class(maximum: int) -> int:
    """The magnitude class of a maximum: its four leading bits, which determine its width."""
    low = max(0, maximum.bit_length() - 4)
    return maximum >> low << low


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


class FrameRows:
    """The positions of groups of rows in one frame; `groups`: in the order of the frame's parts."""

    def __init__(self, groups: Sequence[Rows]) -> None:
        self._runs = [list(_runs(rows)) for rows in groups]
        self._starts: list[list[int]] = [[0] * len(runs) for runs in self._runs]
        position = 0
        for _, _, group, number, size in sorted(
            (run.plane, run.magnitude, group, number, len(run.rows) * run.width)
            for group, runs in enumerate(self._runs)
            for number, run in enumerate(runs)
        ):
            self._starts[group][number] = position
            position += size

    def read(self, content: memoryview, group: int, out: Int32) -> Int64:
        """Write a group's integers to `out`, int32 (rows, length) in C order.

        `content`: the decompressed frame. Returns the largest magnitude in each row, int64 (rows,).
        Raises `ContainerError` for bytes that encode no integers.
        """
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
    digits = _digit_table(maximum)[data].reshape(len(data), -1)
    if digits[:, length:].any():
        raise ContainerError("a row has digits behind its end, or a byte that is no digits")
    return digits[:, :length]


@functools.cache
def _digit_table(maximum: int) -> Bytes2D:
    """The digits of each byte, (256, digits); the last digit of an invalid byte is too large."""
    base, count = 2 * maximum + 1, DIGITS[maximum]
    left = np.arange(256)
    table = np.empty((256, count), np.uint8)
    for place in range(count - 1):
        left, table[:, place] = np.divmod(left, base)
    table[:, count - 1] = left
    return table
