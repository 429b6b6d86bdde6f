"""The interface of a database to the catalog: statements of SQL in transactions.

The statements are plain SQL that every database accepts, with parameters such as `:name`. The database
in the registry's folder is SQLite, used through Python's own driver, because the import of SQLAlchemy
takes longer than any command that needs no tensor. SQLAlchemy connects to all other databases, and
describes the tables (`schema`) for alembic, which makes and migrates them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .attempts import tried_again
from .errors import LostConnection, Unreachable

_Answer = TypeVar("_Answer")


class Rows(Protocol):
    """The result of a statement: rows as tuples, or the number of changed rows."""

    @property
    def rowcount(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> Any: ...


class Connection(Protocol):
    """A connection inside a transaction; that of Python's SQLite driver is one."""

    def execute(self, statement: str, parameters: Mapping[str, Any] = ..., /) -> Rows:
        """Run one statement of SQL with parameters such as `:name`."""
        ...


class Database(abc.ABC):
    """A database.

    `where`: its name in errors. `path`: its SQLite file, None if there is none. `url`: what it was
    opened by, with a password if that has one; None for the file of a registry's folder.
    """

    where: str
    path: Path | None
    url: str | None = None

    @abc.abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one state of the database. Raises as `errors.database_errors`."""

    @abc.abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A connection that writes, in a transaction that is committed on leaving.

        It has the write lock of the catalog from the start. Raises as `reading`.
        """

    def read(self, query: Callable[[Connection], _Answer]) -> _Answer:
        """The answer of a query, asked again if the connection was lost. Raises as `reading`."""

        def ask() -> _Answer:
            with self.reading() as connection:
                return query(connection)

        return tried_again(ask, LostConnection, Unreachable)

    def write(self, change: Callable[[Connection], object]) -> None:
        """Make a change, again if the connection was lost, even at its commit. Raises as `reading`."""

        def make() -> None:
            with self.writing() as connection:
                change(connection)

        tried_again(make, LostConnection, Unreachable)

    @abc.abstractmethod
    def tables(self, connection: Connection) -> set[str]:
        """The names of the existing tables."""

    @abc.abstractmethod
    def check(self, connection: Connection) -> None:
        """Look for damage of the file. Raises `DamagedCatalogError`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close every connection."""
