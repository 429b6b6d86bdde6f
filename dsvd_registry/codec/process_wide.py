"""Temporary changes of a setting that belongs to the whole process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

Restore = Callable[[], None]


class ProcessWide:
    """A context manager that changes a setting of the process and restores it.

    `apply` makes the change and returns a function that undoes it. Several threads may be inside at
    once: the first to enter makes the change, the last to leave undoes it.
    """

    def __init__(self, apply: Callable[[], Restore]) -> None:
        self._apply = apply
        self._lock = threading.Lock()
        self._inside = 0
        self._restore: Restore = _nothing

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._restore = self._apply()
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._restore()


def _nothing() -> None:
    pass
