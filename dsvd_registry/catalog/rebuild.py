"""Rebuild of the catalog from the event log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .. import fs
from ..errors import RegistryError
from ..store import EventLog, Home
from .connect import connect
from .database import Connection, Database
from .errors import DamagedCatalogError
from .ledger import Ledger, another_registrys
from .migrate import upgrade
from .records import Rebuilt
from .replay import TABLES
from .sqlite import copy_sqlite


def rebuild(home: Home, url: str | None = None, *, set_aside: bool = False) -> Rebuilt:
    """Empty the tables and replay the whole log into them, in one transaction.

    An unreadable SQLite file is renamed, never deleted; no other program may write to the registry
    then, because it would write to the renamed file. A file that shows more events than the log has is
    copied first. The caches are kept if the database can be read. `set_aside`: rename an
    SQLite file in any case.

    Raises `RegistryError` for a damaged log, tables of a newer version, or a database that is no file
    and shows another registry, and as `database_errors`; a readable database is then unchanged.
    """
    database = connect(home.catalog, url)
    try:
        try:
            if not set_aside or database.path is None or not database.path.exists():
                return _rebuild(database, home)
        except DamagedCatalogError as error:
            if database.path is None:
                raise RegistryError(
                    str(error), "Empty that database, or give another one, and run this again."
                ) from error
        database.close()
        moved = _free_name(database.path)
        _move(database.path, moved)
        return replace(_rebuild(database, home), set_aside=moved)
    finally:
        database.close()


def _rebuild(database: Database, home: Home) -> Rebuilt:
    upgrade(database, home.tmp)
    ledger = Ledger(database, EventLog(home))
    with database.writing() as connection:
        database.check(connection)
        _restore_position(connection)
        if database.path is None and ledger.shows_another_log(connection):
            raise another_registrys(database.where)
        kept = None
        if not ledger.shows_the_log(connection) and database.path is not None:
            kept = _free_name(database.path)
            copy_sqlite(database.path, kept, home.tmp)
        for table in TABLES:
            connection.execute(f"DELETE FROM {table}")
        events = ledger.replay_all(connection)
        return Rebuilt(
            events=events,
            bases=_count(connection, "bases"),
            models=_count(connection, "models WHERE latest IS NOT NULL"),
            versions=_count(connection, "versions WHERE removed IS NULL"),
            aliases=_count(connection, "aliases"),
            set_aside=kept,
        )


def _count(connection: Connection, rows: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
    return int(count)


def _restore_position(connection: Connection) -> None:
    """Insert the row that says which events the tables show, if it is missing."""
    if _count(connection, "log_position") == 0:
        connection.execute(
            "INSERT INTO log_position (id, position, sha256, first) VALUES (1, 0, '', '')"
        )


def _free_name(path: Path) -> Path:
    """A free name for a damaged database, in its folder."""
    number = 1
    while (name := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return name


def _move(path: Path, target: Path) -> None:
    """Rename a database with its WAL, so that the new file does not meet a stale one."""
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            fs.rename(part, target.with_name(target.name + suffix))
