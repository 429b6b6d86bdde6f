"""The catalog of a read-only registry: a copy in memory, completed from the event log.

Nothing is written to the disk, while SQLite would create a `-wal` and a `-shm` file even for reading.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from ..store import Home
from . import migrate
from .database import Connection, Database
from .errors import DamagedCatalogError, database_errors
from .network import network_filesystem
from .sqlite import TABLES_THERE, check_integrity


class SnapshotDatabase(Database):
    """A database in memory. Several threads may use it; they wait for each other."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.path = None
        self._one_at_a_time = threading.RLock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.isolation_level = None

    @classmethod
    def of(cls, home: Home) -> SnapshotDatabase:
        """A copy of the registry's database; if it cannot be copied, empty tables."""
        snapshot = cls(str(home.root))
        if not snapshot._copy(home.catalog):
            snapshot.close()
            snapshot = cls(str(home.root))
            migrate.make_tables(snapshot._connection)
        return snapshot

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._one_at_a_time, database_errors(self.where):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    writing = reading

    def tables(self, connection: Connection) -> set[str]:
        return {name for (name,) in connection.execute(TABLES_THERE)}

    def check(self, connection: Connection) -> None:
        check_integrity(connection, self.where)

    def close(self) -> None:
        self._connection.close()

    def _copy(self, path: Path) -> bool:
        """Copy the file at `path` if no other program is writing it; gives True for a valid copy."""
        wal = path.with_name(f"{path.name}-wal")
        try:
            before = _state(path)
            if wal.exists() or network_filesystem(path) is not None:
                return False
            address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as source:
                source.backup(self._connection)
            # A program that writes the database has a WAL from its first change until it closes it.
            if wal.exists() or _state(path) != before:
                return False
            with self.reading() as connection:
                self.check(connection)
            return migrate.is_at_head(self)
        except (OSError, sqlite3.Error, DamagedCatalogError):
            return False


def may_write(home: Home) -> bool:
    """True if this user has the permission to write the registry's folder and database."""
    paths = [home.root, *(path for path in (home.catalog,) if path.exists())]
    return all(os.access(path, os.W_OK) for path in paths)


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
