"""Work on several tensors at once, with results in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from .. import threads
from .exact_product_torch import one_thread_each

# Of the tensors in work, so that memory does not grow with the checkpoint.
ELEMENTS_AT_ONCE = 1 << 26

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], elements: Callable[[Item], int]
) -> Iterator[Iterator[Result]]:
    """An iterator of `work(item)` for each item, in the order of `items`.

    `elements(item)`: the size of an item; the items in work add up to `ELEMENTS_AT_ONCE`, or are a
    single larger one. Each item is processed by one thread: that is faster than many threads for
    each small step of a tensor, above all where other programs share the cores. On leaving, also by
    an exception, no work goes on.
    """

    def alone(item: Item) -> Result:
        with one_thread_each:
            return work(item)

    with (
        threads.threads() as pool,
        contextlib.closing(
            threads.in_order(pool, alone, items, elements, ELEMENTS_AT_ONCE)
        ) as results,
    ):
        yield results
