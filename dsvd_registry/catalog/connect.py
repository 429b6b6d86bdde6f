"""The database of a registry, given by its file or its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, MissingExtra
from .database import Database
from .network import check_local

if TYPE_CHECKING:
    from .engine import EngineDatabase

_HINT = "Write postgresql://USER@HOST/DATABASE, or sqlite:///PATH."


def connect(path: Path, url: str | None = None) -> Database:
    """The SQLite database at `path`, or the database at `url`; nothing is opened yet.

    Raises `InvalidArgument` for an invalid URL, `MissingExtra` for a missing driver, `RegistryError` for
    SQLite on a network filesystem.
    """
    if url is None:
        from .sqlite import SqliteDatabase

        check_local(path)
        return SqliteDatabase(path)
    database = _at(url)
    if database.path is not None:
        check_local(database.path)
    return database


def engine_of(database: Database) -> EngineDatabase:
    """The same database through SQLAlchemy, which alembic needs; the caller closes it."""
    from .engine import EngineDatabase, SqliteEngineDatabase

    if isinstance(database, EngineDatabase):
        return database
    assert database.path is not None  # SQLite without SQLAlchemy always has a file
    return SqliteEngineDatabase.of(database.path)


def _at(url: str) -> EngineDatabase:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
        if address.drivername in ("sqlite", "sqlite+pysqlite"):
            from .engine import SqliteEngineDatabase

            return SqliteEngineDatabase(address)
        if address.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
            from .postgresql import PostgresqlDatabase

            return PostgresqlDatabase(address)
    except ImportError as error:
        raise MissingExtra(
            f"a catalog in PostgreSQL needs the package psycopg, which cannot be used: {error}",
            "Install it with: pip install 'dsvd-registry[postgres]'",
        ) from error
    except (ArgumentError, TypeError, ValueError):
        # The message of this error may contain a part of the URL, such as the password.
        raise InvalidArgument("the catalog's URL is not valid", _HINT) from None
    raise InvalidArgument(
        f"the catalog's URL is of {address.drivername}, and a catalog can be in SQLite or PostgreSQL",
        _HINT,
    )
