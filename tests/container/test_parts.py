"""Integers, tables and factors as bytes, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsvd_registry.container.integers import join_planes, split_planes, unzigzag, width, zigzag
from dsvd_registry.container.parts import (
    TABLE_ENTRY_SIZE,
    ComponentTable,
    pack_components,
    pack_elements,
    pack_table,
    unpack_components,
    unpack_elements,
    unpack_table,
)
from dsvd_registry.errors import ContainerError

MOST = 2**31 - 1
Integers = st.integers(-MOST, MOST)


def array(values: list[int]) -> Any:
    return np.array(values, np.int64).astype(np.int32)


def table(*rows: tuple[int, int, int, float]) -> ComponentTable:
    e, a, b, s = zip(*rows, strict=True)
    columns = (np.array(column, np.int64) for column in (e, a, b))
    return ComponentTable(*columns, np.array(s, np.float32))


@given(arrays.arrays(np.int32, st.integers(0, 9)))
def test_zigzag(values: Any) -> None:
    coded = zigzag(values)
    assert coded.dtype == np.uint32
    assert coded.tolist() == [2 * x if x >= 0 else -2 * x - 1 for x in values.tolist()]
    assert unzigzag(coded).tolist() == values.tolist()


@given(st.integers(0, MOST))
def test_width(maximum: int) -> None:
    """The fewest bytes that hold the zigzag of both signs."""
    taken = width(maximum)
    assert 1 <= taken <= 4
    assert 2 * maximum < 256**taken
    assert taken == 1 or 2 * maximum >= 256 ** (taken - 1)


@given(arrays.arrays(np.uint32, st.integers(0, 9)), st.integers(1, 4))
def test_planes(values: Any, planes: int) -> None:
    values = values & np.uint32(256**planes - 1)
    data = split_planes(values, planes)
    assert list(data) == [v >> 8 * p & 255 for p in range(planes) for v in values.tolist()]
    assert join_planes(data, len(values), planes).tolist() == values.tolist()


@given(st.lists(Integers, min_size=1, max_size=9).filter(any))
def test_elements(values: list[int]) -> None:
    maximum = max(map(abs, values))
    data = pack_elements(array(values), maximum)
    assert len(data) == len(values) * width(maximum)
    assert unpack_elements(memoryview(data), len(values), maximum).tolist() == values


@pytest.mark.parametrize(("values", "maximum"), [([128], 127), ([-(2**31)], MOST), ([5, -9], 8)])
def test_element_over_its_maximum(values: list[int], maximum: int) -> None:
    data = split_planes(zigzag(array(values)), width(maximum))
    if values == [128]:  # in one byte it wraps to 0
        data = b"\xff"
    with pytest.raises(ContainerError, match="over its maximum"):
        unpack_elements(memoryview(data), len(values), maximum)


rows = st.tuples(
    st.integers(-128, 127),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.floats(width=32, allow_nan=False),
)


@given(st.lists(rows, min_size=1, max_size=5))
def test_table(entries: list[tuple[int, int, int, float]]) -> None:
    """Any table there is comes back; whether it is a good one is `check`'s."""
    made = table(*entries)
    data = pack_table(made)
    assert len(data) == TABLE_ENTRY_SIZE * len(entries)
    back = unpack_table(memoryview(data), len(entries))
    for name in ("exponents", "max_a", "max_b", "singular_values"):
        assert getattr(back, name).tolist() == getattr(made, name).tolist()
    cut = [back.rows(0, 1), back.rows(1, back.rank)]
    assert ComponentTable.joined(cut).max_b.tolist() == made.max_b.tolist()


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_components(m: int, n: int, data: st.DataObject) -> None:
    entries = data.draw(st.integers(1, 3))
    sides = []
    for length in (m, n):
        one = st.lists(Integers, min_size=length, max_size=length).filter(any)
        sides.append(np.stack([array(data.draw(one)) for _ in range(entries)]))
    maxima = [np.abs(side.astype(np.int64)).max(axis=1).tolist() for side in sides]
    made = table(*((0, x, y, 1.0) for x, y in zip(*maxima, strict=True)))
    packed = pack_components(*sides, made)
    assert len(packed) == made.factor_sizes(m, n)
    back = unpack_components(memoryview(packed), made, m, n)
    assert [side.tolist() for side in back] == [side.tolist() for side in sides]


def test_components_byte_by_byte() -> None:
    """The order that the spec gives, on an example made by hand."""
    a, b = array([[1, -300], [2, 3]]), array([[5], [-70000]])
    made = table((0, 300, 5, 2.0), (0, 3, 70000, 1.0))
    first = [2, 599 & 255, 4, 6, 0, 599 >> 8]  # plane 0 of both a, plane 1 of the wider one
    second = [10, 139999 & 255, 139999 >> 8 & 255, 139999 >> 16]
    assert list(pack_components(a, b, made)) == first + second


@pytest.mark.parametrize("maximum", [6, 8, 100])
def test_components_of_another_magnitude(maximum: int) -> None:
    a, b = array([[7, 0]]), array([[1]])
    packed = pack_components(a, b, table((0, 7, 1, 1.0)))
    with pytest.raises(ContainerError, match="magnitude"):
        unpack_components(memoryview(packed), table((0, maximum, 1, 1.0)), 2, 1)


GOOD = (-10, 5, 6, 1.0)


@pytest.mark.parametrize(
    "entries",
    [
        [GOOD],
        [GOOD, GOOD],
        [(-126, MOST, 2**22, 1.0)],
        [(-10, 20394401, 441650591, 1.0)],  # M = 2^53 - 1
        [(-10, 1, 1, 2.0), (42, 1, 1, 1.0)],  # M = 2^52 + 1
        [(124, 1, 1, 1.0)],
        [(-126, 1, 1, 2.0**-149)],
    ],
)
def test_good_tables(entries: list[tuple[int, int, int, float]]) -> None:
    table(*entries).check()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(-10, 5, 6, 0.0)], "not finite and positive"),
        ([(-10, 5, 6, -1.0)], "not finite and positive"),
        ([(-10, 5, 6, float("inf"))], "not finite and positive"),
        ([(-10, 5, 6, float("nan"))], "not finite and positive"),
        ([GOOD, (-10, 5, 6, 1.5)], "do not fall"),
        ([(-10, 0, 6, 1.0)], "a is all zero"),
        ([(-10, 5, 0, 1.0)], "b is all zero"),
        ([(-10, 2**31, 1, 1.0)], "a is over"),
        ([(-10, 1, 2**32 - 1, 1.0)], "b is over"),
        ([(-127, 1, 1, 1.0)], "exponent -127 is outside"),
        ([(125, 1, 1, 1.0)], "exponent 125 is outside"),
        ([(-10, 2**23, 2**30, 1.0)], "2\\^53 or more"),
        ([(-10, 1, 1, 2.0), (43, 1, 1, 1.0)], "2\\^53 or more"),
        ([(-126, 1, 1, 2.0), (124, 1, 1, 1.0)], "2\\^53 or more"),
    ],
)
def test_bad_tables(entries: list[tuple[int, int, int, float]], message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        table(*entries).check()


def test_rank_at() -> None:
    made = table((0, 1, 1, 4.0), (0, 1, 1, 3.0), (0, 1, 1, 1.0))
    ranks = [made.rank_at(x, 10.0) for x in (1e-9, 0.4, 0.41, 0.7, 0.71, 0.8, 0.81, 1.0)]
    assert ranks == [1, 1, 2, 2, 3, 3, 4, 4]
    one = replace(made.rows(0, 1), singular_values=np.array([2.0**-149], np.float32))
    assert one.rank_at(0.5, 5e-324) == 1
