"""The protocol of a backend: where the bytes of a registry's objects and events are.

A backend keeps immutable bytes under keys, such as `objects/ab/ab12...` or
`events/000000/000000042.json`, and knows nothing of what they mean. What it promises is what
`tests/store/backend_suite.py` tries, on every backend: a key has its bytes whole or does not exist,
`create` succeeds once, and what a call reports as done survives a crash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from .. import fs
from ..errors import InvalidArgument
from ..fs import Bytes

_KEY = re.compile(r"registry\.json|[a-z]+(/[A-Za-z0-9][A-Za-z0-9._-]{0,254})+")


class Entry(NamedTuple):
    """The facts that a backend tells of a key without reading its bytes.

    `mtime`: seconds, by the clock of the backend. `state`: differs after each write and each `renew`.
    `is_plain`: False for a link that stands in a folder, and is no key.
    """

    key: str
    size: int
    mtime: float
    state: str
    is_plain: bool = True


class Content(Protocol):
    """Bytes that are being written, and have no key before `publish`."""

    def write(self, data: Bytes) -> None:
        """Append `data`. Raises `StorageError`."""
        ...

    def readable(self) -> Path:
        """A file of this machine that has the bytes written so far. Raises `StorageError`."""
        ...

    def publish(self, key: str) -> None:
        """Make the bytes durable under `key`; the caller vouches that they are those of that key.

        Bytes that are there already are replaced, which repairs them. Raises `StorageError`.
        """
        ...


class LocalContent:
    """Content in a temporary file of this machine, which `publish` brings to its key."""

    def __init__(self, file: fs.NewFile, publish: Callable[[fs.NewFile, str], None]) -> None:
        self._file, self._publish = file, publish

    def write(self, data: Bytes) -> None:
        self._file.write(data)

    def readable(self) -> Path:
        self._file.flush()
        return self._file.path

    def publish(self, key: str) -> None:
        self._publish(self._file, key)


class Backend(Protocol):
    """Bytes under keys.

    Besides the errors named at each call, all raise `InvalidArgument` for a key that is none,
    `RegistryError` if something else stands in the place of a key, and `StorageError`.
    """

    def create(self, key: str, data: Bytes) -> None:
        """Make a new key durable. Of several writers one succeeds; the others get `Conflict`."""
        ...

    def new_content(self) -> AbstractContextManager[Content]:
        """Bytes to write under a key that is known at the end; without `publish` nothing is left."""
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes of a key from `start` to `stop`, fewer at its end. Raises `NotFound`."""
        ...

    def head(self, key: str) -> Entry | None:
        """The entry of a key; None if it does not exist."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """The entries whose keys begin with `prefix`, a folder with its `/`, and come after `after`.

        They come in the order of their keys. Those that are made or deleted meanwhile may be left out.
        """
        ...

    def delete(self, key: str, unchanged: Entry | None = None) -> bool:
        """Delete a key; gives False if there is none, or it is not in the state of `unchanged`."""
        ...

    def renew(self, key: str) -> bool:
        """Renew the time of a key, and make it durable in any case; gives False if it is gone."""
        ...

    def now(self) -> float:
        """The time by the clock that gives entries theirs, which may not be this machine's."""
        ...

    def settle(self, *prefixes: str) -> None:
        """Make keys below `prefixes` durable that another writer may have made a moment ago."""
        ...


def checked_key(key: str) -> str:
    """The key, if it is one. Raises `InvalidArgument` for one that could leave its place."""
    if not _KEY.fullmatch(key):
        raise InvalidArgument(f"{key!r:.100} is not a key of a registry")
    return key
