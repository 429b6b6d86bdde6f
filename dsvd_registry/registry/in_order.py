"""Tensors worked on several at once, and handed on in order."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..codec.torch_settings import one_thread_each

ELEMENTS_AT_ONCE = (
    1 << 25
)  # of the tensors under way, so that memory does not grow with a checkpoint

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextlib.contextmanager
def in_order(
    work: Callable[[Item], Made], items: Iterable[Item], elements: Callable[[Item], int]
) -> Iterator[Iterator[Made]]:
    """Gives `work(item)` for each item, in the order of `items`; `elements(item)`: how large it is.

    On leaving no work is under way any more, however it ends. Each item is worked on by one thread:
    one thread a tensor is faster than many threads on each small step of one, above all where other
    work shares the cores. What is under way is bounded by `ELEMENTS_AT_ONCE`, or is one item.
    """
    made = _made(work, items, elements)
    try:
        yield made
    finally:
        made.close()


def _made(
    work: Callable[[Item], Made], items: Iterable[Item], elements: Callable[[Item], int]
) -> Generator[Made, None, None]:
    def alone(item: Item) -> Made:
        with one_thread_each:
            return work(item)

    waiting: deque[tuple[int, Future[Made]]] = deque()
    under_way = 0
    with ThreadPoolExecutor(_cores()) as pool:
        try:
            for item in items:
                size = elements(item)
                while waiting and under_way + size > ELEMENTS_AT_ONCE:
                    first_size, first = waiting.popleft()
                    yield first.result()
                    under_way -= first_size
                waiting.append((size, pool.submit(alone, item)))
                under_way += size
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
