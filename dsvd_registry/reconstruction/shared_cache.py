"""A bounded cache for several threads: a value is made once for all who ask for it at the same time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Source = TypeVar("Source")


class SharedCache(Generic[Key, Value]):
    """Values by key. Beyond `limit` bytes the least recently used are dropped, never the newest.

    `size`: the bytes of a value. The newest stays however large it is, so that its next user need not
    make it again. A value that could not be made is not kept: the next who asks tries again.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self.limit = limit
        self._size = size
        self._lock = threading.Lock()
        self._futures: OrderedDict[Key, Future[Value]] = OrderedDict()
        self._sizes: dict[Key, int] = {}  # of the values that are made
        self._total = 0

    @property
    def unfinished(self) -> int:
        """The number of values that are being made, or wait for it."""
        return len(self._futures) - len(self._sizes)

    def value(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of `key`, which is made in this thread if nobody makes it yet.

        Raises what `make` raises, in every thread that waits for it.
        """
        return self.future(key, lambda work: work(), make).result()

    def future(
        self, key: Key, start: Callable[[Callable[[], None]], object], make: Callable[[], Value]
    ) -> Future[Value]:
        """The value of `key`, at once; `start` is given the work that makes it, if nobody does yet."""
        made, is_new = self._entry(key)
        if is_new:
            self._begin(key, made, start, make)
        return made

    def future_from(
        self,
        key: Key,
        source: Callable[[], Future[Source]],
        start: Callable[[Callable[[], None]], object],
        make: Callable[[Source], Value],
    ) -> Future[Value]:
        """A `future` made from what another future gives, for which no thread waits.

        If the work cannot be started once that is there, the value is cancelled.
        """
        made, is_new = self._entry(key)
        if is_new:
            try:
                given = source()
            except BaseException:
                self._give_up(key, made)
                raise

            # A future keeps its callbacks, and this one must not keep the value with it.
            waiting = [(made, start, lambda: make(given.result()))]

            def begin(_: Future[Source]) -> None:
                with contextlib.suppress(Exception):  # the cancelled value says it
                    self._begin(key, *waiting.pop())

            given.add_done_callback(begin)
        return made

    def forget(self, is_unneeded: Callable[[Key], bool]) -> None:
        """Drop values; those that are being made are waited for, and those to be made are not."""
        with self._lock:
            unneeded = {key: made for key, made in self._futures.items() if is_unneeded(key)}
        running = [made for made in unneeded.values() if not made.cancel()]
        concurrent.futures.wait(running)
        for key, made in unneeded.items():
            self._drop(key, made)

    def _entry(self, key: Key) -> tuple[Future[Value], bool]:
        """The future of a value, and whether it is new, so that the value is to be made."""
        with self._lock:
            known = self._futures.get(key)
            if known is not None:
                self._futures.move_to_end(key)
                return known, False
            made = self._futures[key] = Future()
            return made, True

    def _begin(
        self,
        key: Key,
        made: Future[Value],
        start: Callable[[Callable[[], None]], object],
        make: Callable[[], Value],
    ) -> None:
        def work() -> None:
            if not made.set_running_or_notify_cancel():
                return
            try:
                value = make()
            except BaseException as error:  # for those who wait for it, in other threads
                self._drop(key, made)
                made.set_exception(error)
            else:
                self._keep(key, made, value)
                made.set_result(value)

        try:
            start(work)
        except BaseException:
            self._give_up(key, made)
            raise

    def _give_up(self, key: Key, made: Future[Value]) -> None:
        self._drop(key, made)
        made.cancel()

    def _keep(self, key: Key, made: Future[Value], value: Value) -> None:
        with self._lock:
            if self._futures.get(key) is not made:
                return
            self._futures.move_to_end(key)
            self._sizes[key] = self._size(value)
            self._total += self._sizes[key]
            dropped = []
            for oldest in self._futures:
                if self._total <= self.limit or oldest == key:
                    break
                if oldest in self._sizes:
                    self._total -= self._sizes.pop(oldest)
                    dropped.append(oldest)
            for oldest in dropped:
                del self._futures[oldest]

    def _drop(self, key: Key, made: Future[Value]) -> None:
        with self._lock:
            if self._futures.get(key) is made:
                del self._futures[key]
                self._total -= self._sizes.pop(key, 0)
