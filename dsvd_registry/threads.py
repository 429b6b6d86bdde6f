"""Threads for work that lets go of Python's lock, and what they make handed on in order."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextlib.contextmanager
def threads(most: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """As many threads as there are cores, or `most` of them.

    On leaving, however that is, what was not begun is dropped and no work is under way any more.
    Work is begun in the order in which it was submitted.
    """
    pool = ThreadPoolExecutor(min(_cores(), most or _cores()))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Made],
    items: Iterable[Item],
    size: Callable[[Item], int],
    at_once: int,
) -> Generator[Made, None, None]:
    """`work(item)` for each item, in the order of `items`, several under way.

    The sizes of what is under way or not yet taken add up to `at_once` at most, or are one item's.
    """
    waiting: deque[tuple[int, Future[Made]]] = deque()
    under_way = 0
    for item in items:
        room = size(item)
        while waiting and under_way + room > at_once:
            first_room, first = waiting.popleft()
            yield first.result()
            under_way -= first_room
        waiting.append((room, pool.submit(work, item)))
        under_way += room
    while waiting:
        yield waiting.popleft()[1].result()


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
