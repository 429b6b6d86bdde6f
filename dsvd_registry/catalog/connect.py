"""The database of a registry, by its file or its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .database import Database
from .network import check_local

if TYPE_CHECKING:
    from .engine import EngineDatabase


def connect(path: Path, url: str | None = None) -> Database:
    """The SQLite database at `path`, or the one at `url`; nothing is opened yet.

    Raises `InvalidArgument` for a URL that is none, or whose driver is not installed, and
    `RegistryError` for SQLite on a network filesystem.
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
    """Raises as `connect`, before anything is made."""
    connect(path, url).close()


def engine_of(database: Database) -> EngineDatabase:
    """The same database through SQLAlchemy, which alembic needs; to be closed."""
    from .engine import EngineDatabase

    if isinstance(database, EngineDatabase):
        return database
    assert database.path is not None  # of SQLite without SQLAlchemy there is always a file
    return EngineDatabase.of_sqlite(database.path)
