"""A disk that refuses: any call of `fs.disk`, and SQLite's writes."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from dsvd_registry.fs import disk

from .recording import CALLS

GROWS = (
    "create",
    "write",
    "flush",
    "write_at",
    "sync",
    "make_folder",
    "link",
    "rename",
    "replace",
    "symlink",
)


class Faults:
    """Counts the calls of some kinds, and refuses the one with the number `at`, and maybe all after it.

    `commits`: SQLite's, which are refused with `sqlite_code`.
    """

    def __init__(
        self, kinds: tuple[str, ...], at: int, code: int, *, lasts: bool, sqlite_code: int
    ) -> None:
        self._kinds, self._at, self._code, self._lasts = kinds, at, code, lasts
        self._sqlite_code = sqlite_code
        self.calls = 0
        self.refused = ""  # the kind of the first

    @property
    def hit(self) -> bool:
        return self.calls > self._at

    def refuses(self, kind: str) -> bool:
        if kind not in self._kinds:
            return False
        self.calls += 1
        if self.calls - 1 == self._at:
            self.refused = kind
            return True
        return self._lasts and self.hit

    def before(self, kind: str, path: object = None) -> None:
        if self.refuses(kind):
            raise OSError(self._code, os.strerror(self._code), path)

    def before_commit(self) -> None:
        if self.refuses("commit"):
            error = sqlite3.OperationalError("refused")
            error.sqlite_errorcode = self._sqlite_code
            raise error


class _Faulty:
    """A new file whose writes may be refused."""

    def __init__(self, handle: BinaryIO, faults: Faults) -> None:
        self._handle, self._faults = handle, faults

    def write(self, data: Any) -> int:
        self._faults.before("write")
        return self._handle.write(data)

    def flush(self) -> None:
        self._faults.before("flush")
        self._handle.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


@contextmanager
def injected(faults: Faults) -> Iterator[None]:
    real = {name: getattr(disk, name) for name in CALLS}

    def refusing(name: str) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            faults.before(name, str(arguments[0]) if isinstance(arguments[0], Path) else None)
            made = real[name](*arguments, **named)
            return _Faulty(made, faults) if name == "create" else made

        return called

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement == "COMMIT" and self.in_transaction and self.total_changes:
                faults.before_commit()
            return super().execute(statement, *values)

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(disk, name, refusing(name))
        patch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Connection))
        yield
