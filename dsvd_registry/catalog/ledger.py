"""Write transactions: the event log and the tables change together, or not at all.

The log is the truth and the tables a view of it. A transaction takes the write lock, catches up
with events that another process wrote without living to commit its rows (or that a restored backup
of the database does not know), changes the rows, makes the event durable, and commits. Killed
before the event is durable, nothing has happened; killed after, the next one catches up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from ..errors import RegistryError, StorageError
from ..store import Event, EventLog
from ..store.event_fields import MAX_SEQUENCE, utc_now
from . import replay
from .database import Connection, Database
from .errors import REBUILD, DamagedCatalogError


class Stamp(TypedDict):
    """The number and time that the transaction's event gets: the fields every event has."""

    sequence: int
    time: str


@dataclass(frozen=True)
class Transaction:
    """The write lock, held; the tables show every event of the log."""

    connection: Connection
    log: EventLog
    stamp: Stamp

    def record(self, event: Event) -> None:
        """Make `event` happen; it bears the stamp, and is the only one of its transaction.

        Raises `RegistryError` for an event that does not fit, `StorageError`.
        """
        # Rows before event: what the database refuses must not enter the log.
        replay.apply(self.connection, event)
        self.log.append(event)
        _set_position(self.connection, event.sequence, self.log.digest(event.sequence))


@dataclass(frozen=True)
class Ledger:
    """A registry's event log and the database that shows it."""

    database: Database
    log: EventLog
    may_write: bool = True

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """The write lock, after catching up; committed on leaving without an error.

        Raises `RegistryError` if log and tables do not belong together, `StorageError` for a registry
        that may only be read, and as `database_errors`.
        """
        self.check_may_write()
        with self.database.writing() as connection:
            position = self._catch_up(connection)
            if position >= MAX_SEQUENCE:
                raise RegistryError(f"the event log is full: it has {position} events")
            yield Transaction(connection, self.log, Stamp(sequence=position + 1, time=utc_now()))

    def catch_up(self) -> None:
        """Apply events that the tables do not show; cheap and without a lock where there are none.

        Raises as `transaction`; that a registry may only be read does not matter.
        """
        with self.database.reading() as connection:
            self.check_shown(connection)
            position, _ = _position(connection)
        if self.log.pending(position):
            with self.database.writing() as connection:
                self._catch_up(connection)

    def shows_the_log(self, connection: Connection) -> bool:
        """Whether the log has the last event that the tables show; if not, they may know more."""
        position, sha256 = _position(connection)
        return position == 0 or self.log.has(position, sha256)

    def check_may_write(self) -> None:
        """Raises `StorageError` for a registry that may only be read."""
        if not self.may_write:
            raise StorageError(
                f"{self.database.where} can only be read by this user",
                "Check the permissions of the folder and of what is in it, and whether its filesystem "
                "is mounted read-only.",
            )

    def check_shown(self, connection: Connection) -> None:
        """Raises `RegistryError` unless `shows_the_log`."""
        if not self.shows_the_log(connection):
            position, _ = _position(connection)
            raise RegistryError(
                f"{self.database.where} does not show this event log: they differ at event "
                f"{position}",
                "If the folder `events` was restored from an older copy, restore a newer one, or "
                "run `dsvd catalog rebuild` to go on from what it has.",
            )

    def replay_all(self, connection: Connection) -> int:
        """Apply the whole log to empty tables; returns the number of events."""
        _set_position(connection, 0, "")
        return self._catch_up(connection)

    def _catch_up(self, connection: Connection) -> int:
        # Databases other than SQLite have no lock yet: this update waits for it.
        connection.execute("UPDATE log_position SET position = position")
        position, _ = _position(connection)
        self.check_shown(connection)
        last = position
        for event in self.log.after(position):
            replay.apply(connection, event)
            last = event.sequence
        if last > position:
            if self.may_write:
                self.log.sync(position + 1, last)
            _set_position(connection, last, self.log.digest(last))
        return last


def _position(connection: Connection) -> tuple[int, str]:
    row = connection.execute("SELECT position, sha256 FROM log_position").fetchone()
    if row is None:
        raise DamagedCatalogError("the catalog does not say which events it shows", REBUILD)
    return row[0], row[1]


def _set_position(connection: Connection, position: int, sha256: str | None) -> None:
    connection.execute(
        "UPDATE log_position SET position = :position, sha256 = :sha256",
        {"position": position, "sha256": sha256},
    )
