"""What the catalog asks of a database: statements of SQL in transactions.

The statements are plain SQL that every database takes, with parameters written `:name`. The one in
the registry's folder is SQLite, used through Python's own driver: importing SQLAlchemy takes longer
than any command that needs no tensor. SQLAlchemy connects to all others, and describes the tables
(`schema`) for alembic, which makes and changes them.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement gave: tuples, or the number of rows that it changed."""

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
    """A database: `where` is what errors call it, `path` the SQLite file behind it if there is one."""

    where: str
    path: Path | None

    @abc.abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one state of the database. Raises as `faults.database_errors`."""

    @abc.abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A connection that writes, in a transaction committed on leaving. On SQLite it holds the
        write lock from the start; elsewhere the first update takes it. Raises as `reading`.
        """

    @abc.abstractmethod
    def tables(self, connection: Connection) -> set[str]:
        """The names of the tables that there are."""

    @abc.abstractmethod
    def check(self, connection: Connection) -> None:
        """Find damage before a statement runs into it. Raises `DamagedCatalogError`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close every connection."""
