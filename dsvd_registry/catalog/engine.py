"""A database of any kind, reached by its URL through SQLAlchemy."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, TextClause, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ..errors import InvalidArgument, RegistryError
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
    """A database that SQLAlchemy knows how to reach."""

    def __init__(self, address: URL) -> None:
        self._engine = create_engine(address)
        if address.get_backend_name() != "sqlite":
            self.where = f"catalog {address.render_as_string(hide_password=True)}"
            self.path = None
            return
        name = address.database or ":memory:"
        self.path = None if name == ":memory:" or name.startswith("file:") else Path(name)
        self.where = str(self.path or f"catalog {name}")
        event.listen(self._engine, "connect", _set_up_sqlite)
        event.listen(self._engine, "begin", _begin_sqlite)

    @classmethod
    def at(cls, url: str) -> EngineDatabase:
        """The database at `url`. Raises `InvalidArgument`."""
        hint = "Write it as SQLAlchemy does, and install the database's driver."
        try:
            return cls(make_url(url))
        except (NoSuchModuleError, ImportError) as error:
            raise InvalidArgument(f"the catalog's URL cannot be used: {error}", hint) from error
        except (ArgumentError, TypeError, ValueError):
            # The message of this error may contain a part of the URL, such as the password.
            raise InvalidArgument("the catalog's URL is not valid", hint) from None

    @classmethod
    def of_sqlite(cls, path: Path) -> EngineDatabase:
        """The SQLite file at `path`."""
        return cls(URL.create("sqlite", database=str(path)))

    @contextlib.contextmanager
    def reading(self) -> Iterator[EngineConnection]:
        with _engine_errors(self.where), self._engine.begin() as connection:
            yield EngineConnection(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[EngineConnection]:
        engine = self._engine.execution_options(**{_WRITES: True})
        with _engine_errors(self.where), engine.begin() as connection:
            yield EngineConnection(connection)
        if self.path is not None:
            sqlite.shorten_log(self.path)

    def tables(self, connection: Connection) -> set[str]:
        assert isinstance(connection, EngineConnection)
        return set(sqlalchemy.inspect(connection.through).get_table_names())

    def check(self, connection: Connection) -> None:
        if self._engine.dialect.name == "sqlite":
            sqlite.check_integrity(connection, self.where)

    def close(self) -> None:
        self._engine.dispose()


@contextlib.contextmanager
def _engine_errors(where: str) -> Iterator[None]:
    """Turn errors of SQLite as `database_errors` does, and those of other databases into
    `RegistryError`.
    """
    with database_errors(where):
        try:
            yield
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else None
            if isinstance(cause, sqlite3.Error):
                raise of_sqlite(cause, where) from error
            reason = " ".join(str(cause or error).split())
            raise RegistryError(
                f"{where}: {reason}", "Check the database and its address."
            ) from error


@functools.lru_cache
def _text(statement: str) -> TextClause:
    return text(statement)


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    sqlite.set_up(connection)


def _begin_sqlite(connection: sqlalchemy.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
