"""Write transactions: the event log and the tables change together, or not at all.

The log is the truth, and the tables are a view of it. A transaction takes the write lock and applies
events that the tables lack: those of a process that crashed before its commit, or those after the time
of a restored backup. Then it changes the rows, makes its own event durable, and commits. If it is
killed before the event is durable, nothing has changed; if after, the next transaction applies it.
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
    """The number and time of the transaction's event, which are fields of every event."""

    sequence: int
    time: str


@dataclass(frozen=True)
class Transaction:
    """An open transaction with the write lock, in which the tables show every event of the log."""

    connection: Connection
    log: EventLog
    stamp: Stamp

    def record(self, event: Event) -> None:
        """Write `event`, which has the stamp, and is the only one of its transaction.

        Raises `RegistryError` for an event that does not fit, `StorageError`.
        """
        # Rows come first, because an event that the database refuses must not enter the log.
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
        """A transaction after catching up, committed on leaving without an error.

        Raises `RegistryError` if log and tables do not belong together, `StorageError` for a read-only
        registry, and as `database_errors`.
        """
        self.check_may_write()
        with self.database.writing() as connection:
            position = self._catch_up(connection)
            if position >= MAX_SEQUENCE:
                raise RegistryError(f"the event log is full: it has {position} events")
            yield Transaction(connection, self.log, Stamp(sequence=position + 1, time=utc_now()))

    def catch_up(self) -> None:
        """Apply events that the tables do not show; fast and without a lock if there are none.

        Raises as `transaction`, but also works for a read-only registry.
        """
        with self.database.reading() as connection:
            self.check_shown(connection)
            position, _ = _position(connection)
        if self.log.pending(position):
            with self.database.writing() as connection:
                self._catch_up(connection)

    def position(self) -> int:
        """The number of the last event that the tables show."""
        with self.database.reading() as connection:
            number, _ = _position(connection)
        return number

    def shows_the_log(self, connection: Connection) -> bool:
        """True if the log has the last event that the tables show; otherwise they may show more."""
        position, sha256 = _position(connection)
        return position == 0 or self.log.has(position, sha256)

    def check_may_write(self) -> None:
        """Raise `StorageError` for a read-only registry."""
        if not self.may_write:
            raise StorageError(
                f"{self.database.where} can only be read by this user",
                "Check the permissions of the folder and of what is in it, and whether its filesystem "
                "is mounted read-only.",
            )

    def check_shown(self, connection: Connection) -> None:
        """Raise `RegistryError` unless `shows_the_log`."""
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
        # This update takes the write lock on databases other than SQLite, which has it already.
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
