"""Things that are opened once for all who use them at the same time."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, TypeVar

from ...closing import Closing

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Opened(Generic[Value]):
    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.users = 0
        self.values: list[Value] = []  # none until it is open
        self.stack = ExitStack()


class SharedOpen(Closing, Generic[Key, Value]):
    """Values by key. The `idle` that were used last stay open, for those who come back."""

    def __init__(self, idle: int) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._opened: OrderedDict[Key, _Opened[Value]] = OrderedDict()
        self._is_closed = False

    @contextlib.contextmanager
    def use(
        self, key: Key, opening: Callable[[], AbstractContextManager[Value]]
    ) -> Iterator[Value]:
        """The value of `key`, which stays open inside the block.

        Raises what `opening` raises, and `ValueError` after `close`.
        """
        with self._lock:
            if self._is_closed:
                raise ValueError("the registry is closed")
            opened = self._opened.setdefault(key, _Opened())
            self._opened.move_to_end(key)
            opened.users += 1
        try:
            with opened.opening:
                if not opened.values:
                    opened.values.append(opened.stack.enter_context(opening()))
            yield opened.values[0]
        finally:
            self._leave(key, opened)

    def expel(self, key: Key) -> None:
        """Have the next user open the value anew; those who use it keep it."""
        with self._lock:
            opened = self._opened.pop(key, None)
        if opened is not None and not opened.users:
            opened.stack.close()

    def close(self) -> None:
        """Close every value, also those in use."""
        with self._lock:
            self._is_closed = True
            closing = list(self._opened.values())
            self._opened.clear()
        for opened in closing:
            opened.stack.close()

    def _leave(self, key: Key, opened: _Opened[Value]) -> None:
        with self._lock:
            opened.users -= 1
            unused = [] if opened.users else [opened]
            if self._opened.get(key) is opened and opened.values:
                idle = [key for key, other in self._opened.items() if not other.users]
                unused = [self._opened.pop(key) for key in idle[: max(0, len(idle) - self._idle)]]
            elif self._opened.get(key) is opened and not opened.users:
                del self._opened[key]  # it could not be opened
        for one in unused:
            one.stack.close()
