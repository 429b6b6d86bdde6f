"""SQLite, through Python's own driver."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from .. import fs
from ..errors import RegistryError
from . import wal_checkpoint
from .database import Connection, Database
from .errors import BUSY_SECONDS, NEEDS_URL, DamagedCatalogError, database_errors


class SqliteDatabase(Database):
    """An SQLite file. It may be used from several threads, each with a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path: Path = path
        self._idle: list[sqlite3.Connection] = []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        # A transaction that reads first and writes later fails where another one wrote in between.
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
        wal_checkpoint.shorten(self.path)

    def tables(self, connection: Connection) -> set[str]:
        return {name for (name,) in connection.execute(TABLES_THERE)}

    def check(self, connection: Connection) -> None:
        check_integrity(connection, self.where)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with database_errors(self.where):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open()
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()  # rolls back
                raise
            self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False)
        try:
            set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection


TABLES_THERE = "SELECT name FROM sqlite_master WHERE type = 'table'"


def set_up(connection: sqlite3.Connection) -> None:
    """What every new connection to SQLite needs.

    Raises as `sqlite3`, and `RegistryError` where SQLite cannot take the WAL mode.
    """
    # The driver would start transactions by itself, too late and only before some statements.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    # A commit that a loss of power takes would be caught up from the log, which is synced itself;
    # with FULL it need not be. On macOS a plain sync does not reach the disk.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    for pragma in wal_checkpoint.SWITCHED_OFF:
        connection.execute(pragma)
    connection.execute("PRAGMA foreign_keys = ON")
    _use_write_ahead_log(connection)


def check_integrity(connection: Connection, where: str) -> None:
    """Read the whole file. Raises `DamagedCatalogError`."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise DamagedCatalogError(f"{where} is damaged: {found}")


def copy_sqlite(path: Path, copy: Path, tmp: Path, *, replace: bool = True) -> None:
    """Copy what is committed in a database to `copy`; written through the folder `tmp`.

    It is SQLite's own online copy: one of the file alone would miss what is still in the WAL.
    Raises `Conflict` if `copy` exists and `replace` is false, `StorageError`, and the errors of
    `sqlite3`.
    """
    fs.make_folder(tmp)
    with fs.new_file(tmp) as file:
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(file.path)) as target,
        ):
            source.backup(target)
        file.publish(copy, replace=replace)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch once per file. SQLite does not wait for the lock this needs, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            # Where the filesystem cannot do it, this is no error and the mode stays as it is.
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise RegistryError(
                    f"SQLite cannot use its write-ahead log here (it keeps to {mode!r}): the "
                    "filesystem lacks the locks or the shared memory that it needs",
                    NEEDS_URL,
                )
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
