"""Tensors worked on several at once, and handed on in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..codec.torch_settings import one_thread_each

ELEMENTS_AT_ONCE = (
    1 << 25
)  # of the tensors under way, so that memory does not grow with a checkpoint

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_order(
    work: Callable[[Item], Made], items: Iterable[Item], elements: Callable[[Item], int]
) -> Iterator[Made]:
    """`work(item)` for each item, in the order of `items`; `elements(item)` says how large one is.

    Each item is worked on by one thread: one thread a tensor is faster than many threads on each
    small step of one, above all where other work shares the cores. What is under way is bounded by
    `ELEMENTS_AT_ONCE`, or is one item.
    """
    waiting: deque[tuple[int, Future[Made]]] = deque()
    under_way = 0
    with one_thread_each, ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for item in items:
                size = elements(item)
                while waiting and under_way + size > ELEMENTS_AT_ONCE:
                    first_size, first = waiting.popleft()
                    yield first.result()
                    under_way -= first_size
                waiting.append((size, pool.submit(work, item)))
                under_way += size
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)
