"""Errors of databases, translated into the error classes of this package."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from ..errors import DsvdError, InvalidArgument, RegistryError, StorageError

REBUILD = "Run `dsvd catalog rebuild`, which makes a new catalog from the event log."
NEEDS_URL = (
    "Give the URL of a database with --catalog or DSVD_CATALOG, or keep the registry on a disk of this "
    "machine."
)
BUSY_SECONDS = 60


class DamagedCatalogError(RegistryError):
    """A database that is not a valid catalog: overwritten, truncated, or with tables missing."""

    default_hint = REBUILD


class LostConnection(RegistryError):
    """A connection that broke, or a server that ended it: the transaction on it was undone."""

    default_hint = "Check that the database runs and can be reached, then run the command again."


class Unreachable(RegistryError):
    """A server to which no connection can be made."""

    default_hint = "Check that the database runs, and its address, user and password."


@contextlib.contextmanager
def database_errors(where: str) -> Iterator[None]:
    """Turn SQLite's errors raised inside into typed ones that name `where`.

    Raises `DamagedCatalogError`, `RegistryError` (locked for too long), `StorageError` (disk full,
    read-only, read error), `InvalidArgument` (a text not in Unicode).
    """
    try:
        yield
    except UnicodeEncodeError as error:
        # A name to look up that was not in the terminal's encoding.
        raise InvalidArgument(f"{error.object!r} is not Unicode text") from error
    except UnicodeDecodeError as error:
        # SQLite's own message quotes what it read of the damaged file.
        raise DamagedCatalogError(f"{where} is damaged: {error}") from error
    except sqlite3.Error as error:
        raise of_sqlite(error, where) from error


def of_sqlite(error: sqlite3.Error, where: str) -> DsvdError:
    """The error to raise for an error of SQLite."""
    # An extended code keeps the primary one in its low byte. Errors of the Python module itself
    # (a wrong parameter type, say) have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return locked(where)
    if code == sqlite3.SQLITE_FULL:
        return StorageError(f"{where}: the disk is full", "Free some space there and try again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StorageError(f"{where}: {error}", "Check the permissions of the file and folder.")
    if code == sqlite3.SQLITE_IOERR:
        return StorageError(f"{where}: {error}", "Check the disk and its messages.")
    return DamagedCatalogError(f"{where} is damaged: {error}")


def locked(where: str) -> RegistryError:
    """The error to raise where another process kept the write lock for too long."""
    return RegistryError(
        f"{where} was locked by another process for more than {BUSY_SECONDS} s",
        "Run the command again when the other one has finished.",
    )
