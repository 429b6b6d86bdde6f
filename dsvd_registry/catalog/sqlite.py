"""A catalog in SQLite, through Python's own driver.

SQLite moves the content of its write-ahead log into the database file by itself after a commit, when
the writer's lock is free again. In all versions up to 3.51.2, except 3.44.6 and 3.50.7, such a
checkpoint that starts while another connection commits and resets the log can later skip pages and
damage the file (https://www.sqlite.org/wal.html#walresetbug). So every connection has SQLite's own
checkpoints switched off. Those of `shorten_log` have the write lock, and no commit can reset the log
meanwhile. The checkpoint at the closing of the last connection stays: SQLite locks the whole database
for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from .. import fs
from ..errors import RegistryError
from .database import Connection, Database
from .errors import BUSY_SECONDS, NEEDS_URL, DamagedCatalogError, database_errors


class SqliteDatabase(Database):
    """An SQLite file. Several threads may use it, each with a connection of its own."""

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
        # A transaction that reads first and writes later fails if another one writes in between.
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
        shorten_log(self.path)

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
    """Set up a new connection to SQLite.

    Raises as `sqlite3`, and `RegistryError` if SQLite cannot use the WAL mode.
    """
    # The driver would start transactions by itself, too late and only before some statements.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    # With FULL a commit survives a loss of power, although the event log could replace a lost one. On
    # macOS a plain sync does not reach the disk.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    for pragma in CHECKPOINTS_OFF:
        connection.execute(pragma)
    connection.execute("PRAGMA foreign_keys = ON")
    _use_write_ahead_log(connection)


def check_integrity(connection: Connection, where: str) -> None:
    """Read the whole file. Raises `DamagedCatalogError`."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise DamagedCatalogError(f"{where} is damaged: {found}")


def copy_sqlite(path: Path, copy: Path, tmp: Path, *, replace: bool = True) -> None:
    """Copy the committed content of a database to `copy`, written through the folder `tmp`.

    This is SQLite's own online copy: a copy of the file would miss the content of the WAL.
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
    """Switch a file to the WAL mode. SQLite does not wait for the lock, so this function does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            # On a filesystem that cannot do it, SQLite keeps the mode and reports no error.
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


# The length at which SQLite itself makes a checkpoint: 1000 pages.
LONG_LOG = 1000 * 4096

CHECKPOINTS_OFF = (
    "PRAGMA wal_autocheckpoint = 0",
    # A reset log is truncated, so that its size shows when it is long again.
    "PRAGMA journal_size_limit = 0",
)


def shorten_log(path: Path) -> None:
    """Make a checkpoint if the log is long. Raises nothing, because every commit is durable already.

    If another program is writing, the checkpoint is left to that program or a later one.
    """
    with contextlib.suppress(OSError, sqlite3.Error):
        if path.with_name(f"{path.name}-wal").stat().st_size < LONG_LOG:
            return
        with (
            contextlib.closing(_connect_for_checkpoint(path)) as lock,
            contextlib.closing(_connect_for_checkpoint(path)) as worker,
        ):
            lock.execute("BEGIN IMMEDIATE")
            worker.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            lock.execute("ROLLBACK")


def _connect_for_checkpoint(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA synchronous = FULL")
    for pragma in CHECKPOINTS_OFF:
        connection.execute(pragma)
    return connection
