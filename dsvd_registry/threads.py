"""Thread pools for work that releases Python's lock, with results in the order of their inputs."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def threads(most: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of one thread for each core, or of `most` threads if that is less.

    Work starts in the order in which it was submitted. On leaving, also by an exception, work that
    has not started is dropped and running work is waited for.
    """
    pool = ThreadPoolExecutor(min(cores(), most or cores()))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    size: Callable[[Item], int],
    at_once: int,
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in the order of `items`, working on several at once.

    The sizes of all items whose results are not consumed yet add up to at most `at_once`, unless a
    single item is larger than that.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
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


CORES_VARIABLE = "DSVD_CORES"


def cores() -> int:
    """The number of cores that this process may use; of all cores if the system does not say.

    A process that shares the machine with other workers gets its part by `CORES_VARIABLE`.
    """
    if (part := os.environ.get(CORES_VARIABLE, "")).isdecimal() and int(part):
        return int(part)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
