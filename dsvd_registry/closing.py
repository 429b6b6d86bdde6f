"""Objects that are closed: at the end of a `with` block, and only if they were made at all."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar


class Closing(abc.ABC):
    """A context manager that calls `close` on leaving."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release all resources. Closing twice does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


Made = TypeVar("Made", bound=Closing)


class MadeOnce(Closing, Generic[Made]):
    """An object that is made when it is first needed, once for all threads."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make, self._made = make, list[Made]()
        self._making = threading.Lock()

    def get(self) -> Made:
        """The object, made now if it was not before."""
        with self._making:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def close(self) -> None:
        """Close the object if it was made; it is made anew if it is needed again."""
        with self._making:
            while self._made:
                self._made.pop().close()
