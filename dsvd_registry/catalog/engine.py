"""A database that SQLAlchemy reaches: what SQLite at a URL and PostgreSQL have in common, and SQLite."""

from __future__ import annotations

import abc
import contextlib
import functools
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine, TextClause, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import DsvdError, RegistryError
from . import sqlite
from .database import Connection, Database, Rows
from .errors import database_errors, of_sqlite

_WRITES = "dsvd_writes"


@dataclass(frozen=True)
class EngineConnection(Connection):
    """A connection of SQLAlchemy with the interface of Python's SQLite driver."""

    through: sqlalchemy.Connection

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None, /) -> Rows:
        return self.through.execute(_text(statement), parameters)


class EngineDatabase(Database):
    """A database with an engine of SQLAlchemy, which keeps connections open for later transactions."""

    engine: Engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[EngineConnection]:
        with self._transaction(writes=False) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[EngineConnection]:
        with self._transaction(writes=True) as connection:
            yield connection

    def tables(self, connection: Connection) -> set[str]:
        assert isinstance(connection, EngineConnection)
        return set(sqlalchemy.inspect(connection.through).get_table_names())

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[EngineConnection]:
        with database_errors(self.where):
            try:
                with self._begun(writes) as connection:
                    yield connection
            except DBAPIError as error:
                raise self._error(error) from error
            except SQLAlchemyError as error:
                reason = " ".join(str(error).split())
                raise RegistryError(
                    f"{self.where}: {reason}", "Check the database and its address."
                ) from error

    @abc.abstractmethod
    def _begun(self, writes: bool) -> contextlib.AbstractContextManager[EngineConnection]:
        """A connection in a transaction, with the write lock if it `writes`."""

    @abc.abstractmethod
    def _error(self, error: DBAPIError) -> DsvdError:
        """The error to raise for one of the driver."""


class SqliteEngineDatabase(EngineDatabase):
    """SQLite at a URL: a file, or memory."""

    def __init__(self, address: URL) -> None:
        self.engine = create_engine(address)
        self.url = address.render_as_string(hide_password=False)
        name = address.database or ":memory:"
        self.path = None if name == ":memory:" or name.startswith("file:") else Path(name)
        self.where = str(self.path or f"catalog {name}")
        event.listen(self.engine, "connect", _set_up)
        event.listen(self.engine, "begin", _begin)

    @classmethod
    def of(cls, path: Path) -> SqliteEngineDatabase:
        """The SQLite file at `path`."""
        return cls(URL.create("sqlite", database=str(path)))

    @contextlib.contextmanager
    def writing(self) -> Iterator[EngineConnection]:
        with super().writing() as connection:
            yield connection
        if self.path is not None:
            sqlite.shorten_log(self.path)

    def check(self, connection: Connection) -> None:
        sqlite.check_integrity(connection, self.where)

    @contextlib.contextmanager
    def _begun(self, writes: bool) -> Iterator[EngineConnection]:
        with self.engine.execution_options(**{_WRITES: writes}).begin() as connection:
            yield EngineConnection(connection)

    def _error(self, error: DBAPIError) -> DsvdError:
        if isinstance(error.orig, sqlite3.Error):
            return of_sqlite(error.orig, self.where)
        return RegistryError(f"{self.where}: {error.orig}")


@functools.lru_cache
def _text(statement: str) -> TextClause:
    return text(statement)


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    sqlite.set_up(connection)


def _begin(connection: sqlalchemy.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
