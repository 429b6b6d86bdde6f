"""Work that is tried again: another writer was faster, or the connection to the database was lost.

Nobody waits for whom the others keep out: each waits for a time of chance, which grows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import DsvdError

PAUSE = 0.2
"""The longest first wait, in seconds. Who asks a bucket again at once holds up whoever is faster."""

SECONDS = 20.0
"""The time for which work is tried again, from its first failure: a database restarts in it."""

_Result = TypeVar("_Result")


def tried_again(
    work: Callable[[], _Result], *failures: type[DsvdError], seconds: float = SECONDS
) -> _Result:
    """The result of `work`, which is done again while it raises one of `failures`.

    Raises what the last attempt raised, once the time is over.
    """
    longest, until = PAUSE, float("inf")
    while True:
        try:
            return work()
        except failures:
            now = time.monotonic()
            until = min(until, now + seconds)
            if now >= until:
                raise
        import random  # which work that succeeds at once need not wait for

        time.sleep(min(random.uniform(0, longest), until - now))
        longest = min(2 * longest, 1.0)
