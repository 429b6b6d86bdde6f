"""Rows of integers as the bytes of a frame, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvd_registry.container.rows import DIGITS, FrameRows, Rows, blocks, pack_rows, width
from dsvd_registry.errors import ContainerError

MOST = 2**31 - 1
Group = Sequence[Sequence[int]]


def array(values: Any) -> Any:
    return np.array(values, np.int64).astype(np.int32)


def rows_of(group: Group) -> Rows:
    """Rows with their actual maxima."""
    return Rows(len(group[0]), np.array([max(map(abs, row)) for row in group], np.int64))


def frame_of(groups: Sequence[Group]) -> bytes:
    runs = (run for group in groups for run in pack_rows(array(group), rows_of(group)))
    return b"".join(blocks(runs))


def read(data: bytes, groups: Sequence[Rows], number: int) -> tuple[Any, Any]:
    """The integers of a group, and the largest magnitudes found."""
    out = np.full((len(groups[number].maxima), groups[number].length), -7, np.int32)
    largest = FrameRows(groups).read(memoryview(data), number, out)
    return out.tolist(), largest.tolist()


@st.composite
def some_groups(draw: st.DrawFn) -> list[Group]:
    groups = []
    for _ in range(draw(st.integers(1, 3))):
        length = draw(st.integers(1, 12))
        group = []
        for _ in range(draw(st.integers(1, 4))):
            most = draw(st.sampled_from([1, 2, 3, 4, 7, 8, 127, 128, 2**15, 2**23, MOST]))
            row = st.lists(st.integers(-most, most), min_size=length, max_size=length)
            group.append(draw(row.filter(any)))
        groups.append(group)
    return groups


@given(groups=some_groups())
def test_back_again(groups: list[Group]) -> None:
    """Every group of a frame comes back, among any others, and has the promised size."""
    data = frame_of(groups)
    told = [rows_of(group) for group in groups]
    assert len(data) == sum(group.nbytes for group in told)
    for number, group in enumerate(groups):
        values, largest = read(data, told, number)
        assert values == [list(row) for row in group]
        assert largest == told[number].maxima.tolist()


def test_byte_by_byte() -> None:
    """Rows by plane, then by magnitude, then as they come; digits with the first one lowest."""
    a, b = [[1, -300, 2], [0, 1, -1]], [[2, -2], [-1, 0], [9, 1]]
    assert list(frame_of([a, b])) == [
        *(0 + 2 * 3 + 1 * 9,),  # M = 1: of a
        *(1 + 0 * 3,),  # and of b
        *(4 + 3 * 5,),  # M = 2
        *(18, 2),  # M = 9
        *(2, 599 & 255, 4),  # M = 300, low bytes
        *(0, 599 >> 8, 0),  # and high bytes
    ]


def test_digits_fill_a_byte() -> None:
    """A byte has as many digits as fit, and none for magnitudes of which only one fits."""
    for maximum in range(1, 128):
        base = 2 * maximum + 1
        fit = max(count for count in range(1, 9) if base**count <= 256) if base <= 256 else 1
        assert DIGITS.get(maximum, 1) == fit
        assert Rows.one(30, maximum).nbytes == 30 // fit


@pytest.mark.parametrize(("row", "told"), [([6, 0], 7), ([1, 1, 0], 2), ([9], 100), ([9], 300)])
def test_a_magnitude_that_is_not_reached(row: list[int], told: int) -> None:
    """The reader sees it by comparing the magnitudes read with those in the table."""
    rows = Rows.one(len(row), told)
    data = b"".join(blocks(pack_rows(array([row]), rows)))
    assert read(data, [rows], 0) == ([row], [max(row)])


@pytest.mark.parametrize(("length", "maximum"), [(5, 1), (3, 2), (2, 3), (2, 6), (2, 7)])
def test_a_magnitude_that_is_exceeded(length: int, maximum: int) -> None:
    """The last digit of a byte may be over the base."""
    _, (largest,) = read(b"\xff", [Rows.one(length, maximum)], 0)
    assert largest > maximum


@pytest.mark.parametrize(("length", "maximum"), [(4, 1), (2, 2), (1, 3), (3, 7)])
def test_digits_behind_the_end(length: int, maximum: int) -> None:
    rows = Rows.one(length, maximum)
    data = bytearray(frame_of([[[maximum] * length]]))
    last = length % DIGITS[maximum]
    data[-1] += (2 * maximum + 1) ** last
    with pytest.raises(ContainerError, match="digits behind its end"):
        read(bytes(data), [rows], 0)


@given(st.integers(1, MOST), st.integers(1, 40))
def test_never_more_than_a_byte_for_each_byte(maximum: int, length: int) -> None:
    rows = Rows.one(length, maximum)
    assert rows.nbytes <= length * width(maximum)
