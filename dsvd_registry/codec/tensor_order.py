"""Tensors worked on several at once, and handed on in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from .. import threads
from .torch_settings import one_thread_each

ELEMENTS_AT_ONCE = (
    1 << 26
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

    def alone(item: Item) -> Made:
        with one_thread_each:
            return work(item)

    with (
        threads.threads() as pool,
        contextlib.closing(
            threads.in_order(pool, alone, items, elements, ELEMENTS_AT_ONCE)
        ) as made,
    ):
        yield made
