"""The connection to the catalog's database: SQLite in the registry's folder, or any URL."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from .. import fs
from ..errors import InvalidArgument
from .faults import BUSY_SECONDS, database_errors

_WRITES = "dsvd_writes"


@dataclass(frozen=True)
class Database:
    """An engine, what to call it in errors, and the SQLite file behind it where there is one."""

    engine: Engine
    where: str
    path: Path | None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database. Raises as `database_errors`."""
        with database_errors(self.where), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection that writes, in a transaction committed on leaving. On SQLite it holds the
        write lock from the start; elsewhere the first update takes it. Raises as `database_errors`.
        """
        engine = self.engine.execution_options(**{_WRITES: True})
        with database_errors(self.where), engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def connect(path: Path, url: str | None = None) -> Database:
    """The SQLite database at `path`, or the one at `url`; nothing is opened yet.

    Raises `InvalidArgument` for a URL that is none, or whose driver is not installed.
    """
    try:
        address = URL.create("sqlite", database=str(path)) if url is None else make_url(url)
        engine = create_engine(address)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise InvalidArgument(
            f"the catalog's URL cannot be used: {error}",
            "Write it as SQLAlchemy does, and install the database's driver.",
        ) from error
    if address.get_backend_name() != "sqlite":
        return Database(engine, f"catalog {address.render_as_string(hide_password=True)}", None)
    name = address.database or ":memory:"
    file = None if name == ":memory:" or name.startswith("file:") else Path(name)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, str(file or f"catalog {name}"), file)


def copy_sqlite(path: Path, copy: Path, tmp: Path) -> None:
    """Copy what is committed in a database, replacing `copy`; written through the folder `tmp`.

    It is SQLite's own online copy: one of the file alone would miss what is still in the WAL.
    Raises `StorageError`, and the errors of `sqlite3`.
    """
    fs.make_folder(tmp)
    with fs.new_file(tmp) as file:
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(file.path)) as target,
        ):
            source.backup(target)
        file.publish(copy, replace=True)


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would start transactions by itself, too late and only before some statements.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    _use_write_ahead_log(connection)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch once per file. SQLite does not wait for the lock this needs, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        try:
            # Where the filesystem cannot do it, this is no error and the mode stays as it is.
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails where another one wrote in between.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
