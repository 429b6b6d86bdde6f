"""The line of work that makes bytes: a few requests at a time, the others wait in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from .metrics import Metrics

Answer = TypeVar("Answer")


class Busy(Exception):
    """The turn of a request did not come in time."""


class Work:
    """Calls in threads, `at_once` of them; whoever comes first is served first.

    A file is made in many calls. A client that reads slowly holds no place in between.
    """

    def __init__(self, at_once: int, wait: float, metrics: Metrics) -> None:
        self.wait = wait
        self._places = anyio.CapacityLimiter(at_once)
        self._threads = anyio.CapacityLimiter(at_once)
        self._metrics = metrics

    async def begin(self, call: Callable[[], Answer]) -> Answer:
        """The first call for a request. Raises `Busy` if its turn does not come within `wait`."""
        return await self._run(call, self.wait)

    async def go_on(self, call: Callable[[], Answer]) -> Answer:
        """A further call for a request that has begun."""
        return await self._run(call, None)

    async def _run(self, call: Callable[[], Answer], wait: float | None) -> Answer:
        me = object()
        with self._metrics.waiting.track_inprogress():
            try:
                with anyio.fail_after(wait):
                    await self._places.acquire_on_behalf_of(me)
            except TimeoutError:
                raise Busy from None
        try:
            with self._metrics.making.track_inprogress():
                return await anyio.to_thread.run_sync(call, limiter=self._threads)
        finally:
            self._places.release_on_behalf_of(me)
