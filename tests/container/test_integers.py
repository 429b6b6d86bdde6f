"""Integers coded for bytes, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsvd_registry.container.rows import (
    join_planes,
    magnitude,
    split_planes,
    unzigzag,
    width,
    zigzag,
)

MOST = 2**31 - 1


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


@given(st.integers(-MOST, MOST))
def test_magnitude(value: int) -> None:
    coded = zigzag(np.array([value], np.int64).astype(np.int32))
    assert magnitude(int(coded[0])) == abs(value)
