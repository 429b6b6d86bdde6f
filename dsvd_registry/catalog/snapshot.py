"""The catalog of a registry that may only be read: a copy in memory, made whole from the event log.

Nothing is written: SQLite would want to make its `-wal` and `-shm` beside the file even to read it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from ..store import RegistryFolder
from . import migrate
from .database import Connection, Database
from .errors import DamagedCatalogError, database_errors
from .network import network_filesystem
from .sqlite import TABLES_THERE, check_integrity


class SnapshotDatabase(Database):
    """A database in memory; it may be used from several threads, one after the other."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.path = None
        self._one_at_a_time = threading.RLock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.isolation_level = None

    @classmethod
    def of(cls, folder: RegistryFolder) -> SnapshotDatabase:
        """What the registry's database shows, or else one that shows no event yet."""
        found = cls(str(folder.root))
        if not found._take(folder.catalog):
            found.close()
            found = cls(str(folder.root))
            migrate.make_tables(found._connection)
        return found

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

    def _take(self, path: Path) -> bool:
        """Copy the file at `path`, if it can be had whole: nobody has it open, or can change it."""
        wal = path.with_name(f"{path.name}-wal")
        try:
            before = _state(path)
            if wal.exists() or network_filesystem(path) is not None:
                return False
            address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as source:
                source.backup(self._connection)
            # Whoever writes to the database has a WAL from its first change to its closing.
            if wal.exists() or _state(path) != before:
                return False
            with self.reading() as connection:
                self.check(connection)
            return migrate.is_at_head(self)
        except (OSError, sqlite3.Error, DamagedCatalogError):
            return False


def may_write(folder: RegistryFolder) -> bool:
    """Whether this user may write to the registry's folder and database, as far as that is seen."""
    here = [folder.root, *(place for place in (folder.catalog,) if place.exists())]
    return all(os.access(place, os.W_OK) for place in here)


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
