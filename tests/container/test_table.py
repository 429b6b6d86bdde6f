"""Component tables as bytes and back, and the rules that they must keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvd_registry.container.table import (
    TABLE_ENTRY_SIZE,
    ComponentTable,
    pack_table,
    unpack_table,
)
from dsvd_registry.errors import ContainerError

MOST = 2**31 - 1


def table(*rows: tuple[int, int, int, float]) -> ComponentTable:
    e, a, b, s = zip(*rows, strict=True)
    columns = (np.array(column, np.int64) for column in (e, a, b))
    return ComponentTable(*columns, np.array(s, np.float32))


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
