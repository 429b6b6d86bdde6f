"""The stack of a pickle: values, and marks between them."""

from __future__ import annotations

from ..errors import CheckpointError

MISSING = "its pickle is damaged: it takes a value that is not there"


class Stack:
    """Values above the last open mark; each mark hides what lies below it.

    Every method raises `CheckpointError` where it needs a value or a mark that is not there.
    """

    def __init__(self) -> None:
        self._values: list[object] = []
        self._below: list[list[object]] = []

    def push(self, value: object) -> None:
        """Put `value` on top."""
        self._values.append(value)

    def pop(self) -> object:
        """Take the top value."""
        if not self._values:
            raise CheckpointError(MISSING)
        return self._values.pop()

    def top(self) -> object:
        """Return the top value and leave it there."""
        if not self._values:
            raise CheckpointError(MISSING)
        return self._values[-1]

    def take(self, count: int) -> list[object]:
        """Take the `count` (at least 1) top values, the lowest first."""
        if len(self._values) < count:
            raise CheckpointError(MISSING)
        taken = self._values[-count:]
        del self._values[-count:]
        return taken

    def mark(self) -> None:
        """Open a mark."""
        self._below.append(self._values)
        self._values = []

    def take_marked(self) -> list[object]:
        """Close the last mark and take everything above it."""
        if not self._below:
            raise CheckpointError("its pickle is damaged: it closes what it never opened")
        taken, self._values = self._values, self._below.pop()
        return taken

    def drop(self) -> None:
        """Take the top value, or the mark if that is on top."""
        if self._values or not self._below:
            self.pop()
        else:
            self.take_marked()

    def drop_marked(self) -> None:
        """Close the last mark and drop everything above it."""
        self.take_marked()

    def last(self) -> object:
        """Take the one value that must be left at the end."""
        value = self.pop()
        if self._values or self._below:
            raise CheckpointError("its pickle is damaged: values are left over at its end")
        return value
