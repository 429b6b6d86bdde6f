"""Comparison of the catalog with its event log: it must have exactly the rows that the events make."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from . import replay
from .database import Connection
from .errors import DamagedCatalogError
from .ledger import Ledger


def check_rows(ledger: Ledger) -> int:
    """Follow the chain of the whole log, replay it in memory and compare the tables.

    Returns the number of events read.

    Raises `RegistryError` if the log is damaged or lacks an event that the tables show,
    `DamagedCatalogError` if the database is damaged or has other rows than the events make.
    """
    database, events = ledger.database, 0
    with database.reading() as connection, _empty(connection) as scratch:
        database.check(connection)
        ledger.check_shown(connection)
        (shown,) = connection.execute("SELECT position FROM log_position").fetchone()
        for position, event in ledger.log.after():
            if position.sequence <= shown:  # other processes may write events meanwhile
                replay.apply(scratch, event)
            events += 1
        unlike = [
            table for table in replay.TABLES if _rows(connection, table) != _rows(scratch, table)
        ]
    if unlike:
        raise DamagedCatalogError(
            f"{database.where} is damaged: {', '.join(sorted(unlike))} "
            "do not have the rows that the event log makes"
        )
    return events


def _rows(connection: Connection, table: str) -> set[str]:
    # Rows are compared as text, in which 1 and 1.0 differ.
    return {repr(tuple(row)) for row in connection.execute(f"SELECT * FROM {table}")}


@contextlib.contextmanager
def _empty(connection: Connection) -> Iterator[Connection]:
    """The same tables in memory, without rows."""
    if not isinstance(connection, sqlite3.Connection):
        from sqlalchemy import create_engine

        from .engine import EngineConnection
        from .schema import Table

        with create_engine("sqlite://").begin() as memory:
            Table.metadata.create_all(memory)
            yield EngineConnection(memory)
        return
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        # The statements are copied, because alembic would take longer than everything else here.
        for (statement,) in connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ):
            scratch.execute(statement)
        yield scratch
