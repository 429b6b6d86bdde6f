"""A run of elements: what its prediction lacks to be its source (spec, section "Runs")."""

from __future__ import annotations

import numpy as np

from ..container.rows import Run
from ..errors import ContainerError
from .digits import Digits, digit_bytes, pack_digits, unpack_digits
from .groups import Group, Places, best_code, exponents_apart, pack_groups, unpack_groups
from .ordered import Bits, FloatFormat, differences, exponents, restored

ELEMENTS = 1 << 20  # of a run; the last one of a tensor has fewer


def most_bytes(elements: int, of: FloatFormat) -> int:
    """No run of so many elements has more."""
    return 1 + 3 * (of.last_exponent + 1) + elements * (1 + 2 * of.width)


def encode_run(source: Bits, prediction: Bits, of: FloatFormat) -> tuple[Run, ...]:
    """The bytes of a run, in order; those of one key are alike. Both flat, of the numbers' bits."""
    off = differences(source, prediction, of)
    found = exponents(prediction, of)
    lasts = exponents_apart(found, of.last_exponent)
    places = Places(found, tuple(Group(last, 0, 2) for last in lasts))
    ordered = places.in_order(off)
    groups, digits, low = [], [], []
    first = 0
    rests = [np.empty(0, of.unsigned)]
    for last, count in zip(lasts, places.counts, strict=True):
        own = ordered[first : first + count]
        first += count
        group = Group(last, *best_code(own, of.bits))
        groups.append(group)
        high = own >> group.shift if group.shift else own
        of_group = np.minimum(high, group.base - 1).astype(np.uint8)
        digits.append(pack_digits(of_group, group.base))
        outside = np.flatnonzero(of_group == group.base - 1)
        rests.append(high[outside] - of.unsigned.type(group.base - 1))
        low += _planes(own & of.unsigned.type((1 << group.shift) - 1), group.low_planes)
    rest = np.concatenate(rests)
    pieces = [np.frombuffer(pack_groups(tuple(groups)), np.uint8), *digits, *low]
    pieces += _planes(rest, of.width)
    return tuple(Run((number, 0), piece.tobytes()) for number, piece in enumerate(pieces))


def decode_run(content: memoryview, prediction: Bits, of: FloatFormat) -> Bits:
    """The source's bits. Raises `ContainerError` for bytes that are no run of these elements."""
    groups = unpack_groups(content, of)
    places = Places(exponents(prediction, of), groups)
    left = _Left(content[1 + 3 * len(groups) :])
    coded = np.empty(len(prediction), of.unsigned)
    outside = []
    first = 0
    owners = list(zip(groups, places.counts, strict=True))
    for group, count in owners:
        digits = unpack_digits(left.take(digit_bytes(count, group.base)), count, group.base)
        if of.bits - group.shift < 8:
            _check_below(digits, 1 << (of.bits - group.shift))
        own = coded[first : first + count]
        own[:] = digits
        own <<= group.shift
        outside.append(first + np.flatnonzero(digits == group.base - 1))
        first += count
    first = 0
    for group, count in owners:
        for plane in range(group.low_planes):
            part = np.frombuffer(left.take(count), np.uint8)
            if plane == group.low_planes - 1 and group.shift % 8:
                _check_below(part, 1 << group.shift % 8)
            wide = part.astype(of.unsigned)
            wide <<= 8 * plane
            coded[first : first + count] |= wide
        first += count
    rests = _joined(left, sum(map(len, outside)), of)
    left.end()
    taken = 0
    for (group, _), where in zip(owners, outside, strict=True):
        rest = rests[taken : taken + len(where)]
        taken += len(where)
        if len(rest) and int(rest.max()) > ((1 << (of.bits - group.shift)) - group.base):
            raise ContainerError("a difference of a run is too large")
        coded[where] += rest << group.shift
    return restored(places.back(coded), prediction, of)


class _Left:
    """What of a run has not been taken yet."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    def take(self, size: int) -> memoryview:
        if size > len(self._content):
            raise ContainerError("a run is cut short")
        taken, self._content = self._content[:size], self._content[size:]
        return taken

    def end(self) -> None:
        if len(self._content):
            raise ContainerError("a run is followed by something else")


def _planes(values: Bits, planes: int) -> list[Digits]:
    """All lowest bytes, then all second ones, ..."""
    return [(values >> (8 * plane)).astype(np.uint8) for plane in range(planes)]


def _joined(left: _Left, count: int, of: FloatFormat) -> Bits:
    values = np.zeros(count, of.unsigned)
    for plane in range(of.width):
        part = np.frombuffer(left.take(count), np.uint8)
        values |= part.astype(of.unsigned) << (8 * plane)
    return values


def _check_below(part: Digits, limit: int) -> None:
    if len(part) and int(part.max()) >= limit:
        raise ContainerError("a part of a difference is larger than it can be")
