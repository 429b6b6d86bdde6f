"""The database of a registry, given by its file or its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .database import Database
from .network import check_local

if TYPE_CHECKING:
    from .engine import EngineDatabase


def connect(path: Path, url: str | None = None) -> Database:
    """The SQLite database at `path`, or the database at `url`; nothing is opened yet.

    Raises `InvalidArgument` for an invalid URL or a missing driver, `RegistryError` for SQLite on a
    network filesystem.
    """
    if url is None:
        from .sqlite import SqliteDatabase

        check_local(path)
        return SqliteDatabase(path)
    from .engine import EngineDatabase

    database = EngineDatabase.at(url)
    if database.path is not None:
        check_local(database.path)
    return database


def check_database(path: Path, url: str | None = None) -> None:
    """Check that the database can be used, before anything is made. Raises as `connect`."""
    connect(path, url).close()


def engine_of(database: Database) -> EngineDatabase:
    """The same database through SQLAlchemy, which alembic needs; the caller closes it."""
    from .engine import EngineDatabase

    if isinstance(database, EngineDatabase):
        return database
    assert database.path is not None  # SQLite without SQLAlchemy always has a file
    return EngineDatabase.of_sqlite(database.path)
