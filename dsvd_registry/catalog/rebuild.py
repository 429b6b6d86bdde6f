"""Making the catalog anew from the event log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text

from .. import fs
from ..store import EventLog, RegistryFolder
from .database import Database, connect, copy_sqlite
from .faults import DamagedCatalogError
from .ledger import Ledger
from .migrate import upgrade
from .records import Rebuilt
from .schema import VIEW_TABLES, AliasRow, BaseRow, ModelRow, PositionRow, Table, VersionRow


def rebuild(folder: RegistryFolder, url: str | None = None) -> Rebuilt:
    """Empty the tables and replay the whole log into them, in one transaction.

    An SQLite file that cannot be read is moved aside, never deleted. Nothing else may write to the
    registry then: it would go on writing to the moved file. One that shows more than the log has is
    copied before. The fingerprint cache is kept where the database can be read.

    Raises `RegistryError` for a damaged log or tables of a newer version (a database that can be
    read is then as it was), and as `database_errors`.
    """
    database = connect(folder.catalog, url)
    try:
        try:
            return _rebuild(database, folder)
        except DamagedCatalogError:
            if database.path is None:
                raise
        database.close()
        moved = _aside(database.path)
        _move(database.path, moved)
        return replace(_rebuild(database, folder), set_aside=moved)
    finally:
        database.close()


def _rebuild(database: Database, folder: RegistryFolder) -> Rebuilt:
    upgrade(database, folder.tmp)
    ledger = Ledger(database, EventLog(folder))
    with database.writing() as connection:
        _check(connection, database)
        kept = None
        if not ledger.shows_the_log(connection) and database.path is not None:
            kept = _aside(database.path)
            copy_sqlite(database.path, kept, folder.tmp)
        for table in VIEW_TABLES:
            connection.execute(delete(table))
        events = ledger.replay_all(connection)
        live = VersionRow.removed.is_(None)
        return Rebuilt(
            events=events,
            bases=_count(connection, BaseRow),
            models=_count(connection, ModelRow, ModelRow.latest.is_not(None)),
            versions=_count(connection, VersionRow, live),
            aliases=_count(connection, AliasRow),
            set_aside=kept,
        )


def _count(connection: Connection, table: type[Table], *conditions: ColumnElement[bool]) -> int:
    statement = select(func.count()).select_from(table).where(*conditions)
    return connection.scalar(statement) or 0


def _check(connection: Connection, database: Database) -> None:
    """Find damage that no statement of the rebuild may run into. Raises `DamagedCatalogError`."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("PRAGMA integrity_check(1)")).scalar()
        if found != "ok":
            raise DamagedCatalogError(f"{database.where} is damaged: {found}")
    if connection.scalar(select(func.count()).select_from(PositionRow)) == 0:
        connection.execute(insert(PositionRow).values(id=1, position=0, sha256=""))


def _aside(path: Path) -> Path:
    """A free name beside the database."""
    number = 1
    while (name := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return name


def _move(path: Path, target: Path) -> None:
    """Rename a database and what SQLite keeps beside it: a stale WAL must not meet a new file."""
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            fs.rename(part, target.with_name(target.name + suffix))
