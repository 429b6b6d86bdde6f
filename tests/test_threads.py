"""Results of threads come in order and within bounds, and no work goes on afterwards."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from dsvd_registry.threads import in_order, threads


def test_in_the_order_of_the_items() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.01 if number < 3 else 0)
        return number * number

    with threads() as pool:
        made = list(in_order(pool, slow_at_first, range(20), lambda _: 1, 5))
    assert made == [number * number for number in range(20)]


@pytest.mark.parametrize(("sizes", "most"), [([1] * 9, 3), ([5] * 9, 1), ([1, 9, 1, 1, 1], 3)])
def test_what_is_under_way_is_bounded(sizes: list[int], most: int) -> None:
    """An item larger than the bound is alone."""
    begun: list[int] = []
    taken = 0
    with threads() as pool:
        for _ in in_order(pool, begun.append, range(len(sizes)), sizes.__getitem__, 3):
            assert len(begun) <= taken + most
            taken += 1
    assert taken == len(sizes)


def test_items_are_asked_for_as_there_is_room() -> None:
    asked: list[int] = []

    def items():
        for number in range(100):
            asked.append(number)
            yield number

    with threads() as pool, closing(in_order(pool, int, items(), lambda _: 1, 4)) as made:
        next(made)
        assert len(asked) <= 6


def test_an_error_comes_in_its_place_and_ends_all_work() -> None:
    begun: list[int] = []
    under_way = threading.Semaphore(0)

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise KeyError(number)
        under_way.release()
        return number

    taken = []
    with pytest.raises(KeyError), threads() as pool:
        for made in in_order(pool, work, range(10_000), lambda _: 1, 8):
            taken.append(made)
    assert taken == [0, 1]
    count = len(begun)
    assert count < 20
    time.sleep(0.01)
    assert len(begun) == count


def test_leaving_waits_for_what_is_under_way() -> None:
    ended: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.02)
        ended.append(number)

    with threads() as pool:
        pool.submit(work, 1)
        time.sleep(0.005)
    assert ended == [1]
