"""Encoding of a run of elements as differences from its prediction (spec, section "Runs")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..codec.weights import scratch
from ..container.rows import Run
from ..errors import ContainerError
from .class_groups import (
    Group,
    best_code,
    classes_apart,
    groups_size,
    pack_groups,
    unpack_groups,
)
from .digits import Digits, digit_bytes, pack_digits, unpack_digits
from .kernels import Kernels
from .numpy_kernels import NUMPY
from .ordered import Bits, ElementFormat
from .predicted import Predicted

MOST_GROUPS = 256
ELEMENTS = 1 << 20  # in a run; the last run of a tensor may have fewer


def most_bytes(elements: int, of: ElementFormat) -> int:
    """The largest size in bytes that a run of so many elements can have."""
    return groups_size(MOST_GROUPS) + elements * (1 + 2 * of.width)


def encode_run(source: Bits, predicted: Predicted, kernels: Kernels = NUMPY) -> tuple[Run, ...]:
    """Encode a run. `source` is a flat array of the bits of its elements."""
    of = predicted.of
    lasts = classes_apart(predicted)
    order = kernels.order(predicted, lasts)
    counts = order.counts
    ordered = order.differences(source)
    groups: list[Group] = []
    digits: list[Digits] = []
    low: list[Digits] = []
    rests = [np.empty(0, of.unsigned)]
    for last, part in zip(lasts, _parts(counts), strict=True):
        own = ordered[part]
        group = Group(last, *best_code(own, of.bits))
        groups.append(group)
        of_group = np.empty(len(own), np.uint8)
        planes = np.empty((group.low_planes, len(own)), np.uint8)
        kernels.split(own, group.shift, group.base, of_group, planes.reshape(-1))
        digits.append(pack_digits(of_group, group.base))
        low.extend(planes)
        outside = np.flatnonzero(of_group == group.base - 1)
        rests.append((own[outside] >> group.shift) - of.unsigned.type(group.base - 1))
    rest = np.concatenate(rests)
    pieces = [np.frombuffer(pack_groups(tuple(groups)), np.uint8), *digits, *low]
    pieces += [(rest >> (8 * plane)).astype(np.uint8) for plane in range(of.width)]
    return tuple(Run((number, 0), piece.tobytes()) for number, piece in enumerate(pieces))


def decode_run(
    content: memoryview, predicted: Predicted, out: Bits | None = None, kernels: Kernels = NUMPY
) -> Bits:
    """Inverse of `encode_run`: the bits of the source, written to `out` if it is given.

    Raises `ContainerError` for bytes that do not encode a run of these elements.
    """
    of = predicted.of
    groups = unpack_groups(content, of)
    order = kernels.order(predicted, [group.last for group in groups])
    counts = order.counts
    left = _Left(content[groups_size(len(groups)) :])
    owners = list(zip(groups, counts, strict=True))
    digits = [_digits(left, group, count, of) for group, count in owners]
    low = [_low_planes(left, group, count) for group, count in owners]
    coded = scratch.array("coded", (len(predicted),), of.unsigned)
    for group, part, own, planes in zip(groups, _parts(counts), digits, low, strict=True):
        kernels.join(coded[part], own, planes, group.shift)
    outside = [np.flatnonzero(own == g.base - 1) for g, own in zip(groups, digits, strict=True)]
    rest = _rest(left, sum(map(len, outside)), of)
    left.end()
    taken = 0
    for group, part, where in zip(groups, _parts(counts), outside, strict=True):
        own_rest = rest[taken : taken + len(where)]
        taken += len(where)
        if len(where) and int(own_rest.max()) > (1 << (of.bits - group.shift)) - group.base:
            raise ContainerError("a difference of a run is too large")
        coded[part][where] += own_rest << group.shift
    source = np.empty_like(predicted.bits) if out is None else out
    order.restore(coded, source)
    return source


def _parts(counts: list[int]) -> Iterator[slice]:
    """The slice of each group in elements sorted by group."""
    first = 0
    for count in counts:
        yield slice(first, first + count)
        first += count


def _digits(left: _Left, group: Group, count: int, of: ElementFormat) -> Digits:
    digits = unpack_digits(left.take(digit_bytes(count, group.base)), count, group.base)
    if of.bits - group.shift < 8:
        _check_below(digits, 1 << (of.bits - group.shift))
    return digits


def _low_planes(left: _Left, group: Group, count: int) -> Digits:
    planes = np.frombuffer(left.take(group.low_planes * count), np.uint8)
    if group.shift % 8:
        _check_below(planes[-count:] if count else planes, 1 << group.shift % 8)
    return planes


class _Left:
    """The bytes of a run that have not been read yet."""

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


def _rest(left: _Left, count: int, of: ElementFormat) -> Bits:
    values = np.zeros(count, of.unsigned)
    for plane in range(of.width):
        part = np.frombuffer(left.take(count), np.uint8)
        values |= part.astype(of.unsigned) << (8 * plane)
    return values


def _check_below(part: Digits, limit: int) -> None:
    if len(part) and int(part.max()) >= limit:
        raise ContainerError("a part of a difference is larger than it can be")
