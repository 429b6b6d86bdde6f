"""A setting of the process, made for a while and given back as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

Restore = Callable[[], None]


class ProcessWide:
    """A context manager around a setting of the process; `apply` makes it and returns its undoing.

    Several threads may be inside at once: the first to enter sets, the last to leave restores.
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
