"""Write transactions: the event log and the tables change together, or not at all.

The log is the truth, and the tables are a view of it. A transaction takes the write lock and applies
events that the tables lack: those of a process that crashed before its commit, or those after the time
of a restored backup. Then it changes the rows, makes one event of all its changes durable, and commits.
If it is killed before the event is durable, nothing has changed; if after, the next transaction applies
it.

The event is what counts: if another writer's has the number, the rows are undone, and the edit is made
again on what that one has left. Where asking for events takes a while, a writer that has just written
one tries its next edit at once, and asks only if that is refused. If the connection to the database
breaks before the event is written, nothing has happened, and the edit is made again, too; if after, the
change is made, and the tables show it by catching up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ..errors import DsvdError, RegistryError, StorageError
from ..store import START, Change, EventLog, Home, LostRace, Position
from ..store.event_fields import MAX_SEQUENCE, utc_now
from . import replay
from .attempts import tried_again
from .connect import connect
from .database import Connection, Database
from .errors import REBUILD, DamagedCatalogError, LostConnection, Unreachable

_Arguments = ParamSpec("_Arguments")
_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Transaction:
    """An open transaction with the write lock, in which the tables show every event of the log.

    `sequence`, `time`: those of the event that it makes of its changes, if it has any.
    """

    connection: Connection
    sequence: int
    time: str
    changes: list[Change] = field(default_factory=list)

    def record(self, change: Change) -> None:
        """Change the rows, and make `change` part of the event.

        Raises `RegistryError` for a change that does not fit.
        """
        # Rows come first, because a change that the database refuses must not enter the log.
        replay.apply_change(self.connection, change, self.sequence, self.time)
        self.changes.append(change)

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """Changes that belong together: an error inside the `with` block takes back all of them.

        The changes before it stay part of the event.
        """
        before = len(self.changes)
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except DsvdError:
            self.connection.execute("ROLLBACK TO SAVEPOINT part")
            del self.changes[before:]
            raise
        self.connection.execute("RELEASE SAVEPOINT part")


@dataclass(frozen=True)
class Ledger:
    """A registry's event log and the database that shows it.

    `after_event` is called with the position of each event that is written and committed, and the
    number of its changes.
    """

    database: Database
    log: EventLog
    may_write: bool = True
    after_event: Callable[[Position, int], object] | None = None

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction after catching up; on leaving without an error its event is written, and it is
        committed.

        Raises `RegistryError` if log and tables do not belong together, `StorageError` for a read-only
        registry, and as `database_errors`.
        """
        return self._transaction(self._catch_up)

    @contextlib.contextmanager
    def _transaction(self, to_last: Callable[[Connection], Position]) -> Iterator[Transaction]:
        self.check_may_write()
        written = None
        try:
            with self.database.writing() as connection:
                last = to_last(connection)
                if last.sequence >= MAX_SEQUENCE:
                    raise RegistryError(f"the event log is full: it has {last.sequence} events")
                transaction = Transaction(connection, last.sequence + 1, utc_now())
                yield transaction
                if transaction.changes:
                    written = self.log.append(last, transaction.time, transaction.changes)
                    _set_position(connection, written)
        except LostConnection as error:
            if written is None:
                raise
            self._show(written, error)
        if written is not None and self.after_event is not None:
            self.after_event(written, len(transaction.changes))

    def write(
        self,
        edit: Callable[Concatenate[Transaction, _Arguments], _Record],
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> _Record:
        """Return what `edit` returns, made in a transaction, and again in a new one if that is lost.

        Raises as `transaction`, and what the edit raises.
        """

        def make() -> _Record:
            with self.transaction() as transaction:
                return edit(transaction, *arguments, **named)

        if self.log.is_written_lately():
            lost = contextlib.suppress(_MayBeOldError, LostRace, LostConnection, Unreachable)
            with lost, self._transaction(self._supposed_last) as transaction:
                return _proven(transaction, lambda: edit(transaction, *arguments, **named))
        return tried_again(make, LostRace, LostConnection, Unreachable)

    def catch_up(self) -> None:
        """Apply events that the tables do not show; fast and without a lock if there are none.

        Raises as `transaction`, but also works for a read-only registry.
        """

        def shown(connection: Connection) -> Position:
            self.check_shown(connection)
            return _position(connection)

        if self.log.pending(self.database.read(shown).sequence):
            self.database.write(self._catch_up)

    def position(self) -> Position:
        """The last event that the tables show."""
        return self.database.read(_position)

    def shows_the_log(self, connection: Connection) -> bool:
        """True if the log has the last event that the tables show; otherwise they may show more."""
        position = _position(connection)
        return position == START or self.log.has(position)

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
        if self.shows_the_log(connection):
            return
        if self.shows_another_log(connection):
            raise another_registrys(self.database.where)
        raise RegistryError(
            f"{self.database.where} does not show this event log: they differ at event "
            f"{_position(connection).sequence}",
            "If the folder `events` was restored from an older copy, restore a newer one, or "
            "run `dsvd catalog rebuild` to go on from what it has.",
        )

    def shows_another_log(self, connection: Connection) -> bool:
        """True if the tables show a log that began with another event than this one."""
        (first,) = connection.execute("SELECT first FROM log_position").fetchone()
        return bool(first) and self.log.pending(0) and not self.log.has(Position(1, first))

    def replay_all(self, connection: Connection) -> int:
        """Apply the whole log to empty tables; returns the number of events."""
        _set_position(connection, START)
        return self._catch_up(connection).sequence

    def _show(self, written: Position, lost: LostConnection) -> None:
        """Let the tables show an event whose transaction was lost when it was written."""
        try:
            self.catch_up()
        except (LostConnection, Unreachable):
            raise RegistryError(
                f"event {written.sequence} is written, but not shown yet: {lost}",
                "The change is made: do not run the command again. The catalog shows it as soon as the "
                "database can be reached.",
            ) from lost

    def _supposed_last(self, connection: Connection) -> Position:
        """The event that this process wrote a moment ago, unasked; otherwise as `_catch_up`."""
        shown = _position(connection)
        return shown if self.log.is_written_lately(shown) else self._catch_up(connection)

    def _catch_up(self, connection: Connection) -> Position:
        self.check_shown(connection)
        shown = last = _position(connection)
        first = None
        for position, event in self.log.after(shown):
            replay.apply(connection, event)
            last = position
            if shown == START and first is None:
                first = position.sha256
        if last != shown:
            if self.may_write:
                self.log.sync(shown.sequence + 1, last.sequence)
            _set_position(connection, last, first)
        return last


class _MayBeOldError(Exception):
    """The error for what was found in tables that may lack events of others."""


def _proven(transaction: Transaction, edit: Callable[[], _Record]) -> _Record:
    """Return what `edit` returns, if it makes an event, which is written only if the tables lack none.

    Raises `_MayBeOldError` for what a newer view might not refuse, or not find to be there already.
    """
    try:
        record = edit()
    except DsvdError as error:
        raise _MayBeOldError from error
    if not transaction.changes:
        raise _MayBeOldError
    return record


def shown_position(home: Home, url: str | None = None) -> Position:
    """The last event that a registry's catalog shows; `START` if there is none, or it cannot be read."""
    if url is None and not home.catalog.exists():
        return START
    database = connect(home.catalog, url)
    try:
        with database.reading() as connection:
            return _position(connection)
    except DsvdError:
        return START
    finally:
        database.close()


def check_database(path: Path, url: str | None = None) -> None:
    """Check that the catalog of a new registry can be in a database, before anything is made.

    Raises as `connect`, and `RegistryError` if the database shows a registry already.
    """
    database = connect(path, url)
    try:
        if database.path is not None:  # a file is made when it is opened
            return
        with database.reading() as connection:
            in_use = "log_position" in database.tables(connection)
            if in_use and _position(connection) != START:
                raise another_registrys(database.where)
    finally:
        database.close()


def another_registrys(where: str) -> RegistryError:
    """The error to raise for a database that shows the log of another registry."""
    return RegistryError(
        f"{where} has the catalog of another registry",
        "Give each registry a database of its own, or a schema: ...?options=-csearch_path%3DSCHEMA",
    )


def _position(connection: Connection) -> Position:
    row = connection.execute("SELECT position, sha256 FROM log_position").fetchone()
    if row is None:
        raise DamagedCatalogError("the catalog does not say which events it shows", REBUILD)
    return Position(*row)


def _set_position(connection: Connection, position: Position, first: str | None = None) -> None:
    """Note the last event that the tables show; and the first one's SHA-256, where that is new."""
    if position.sequence <= 1:
        first = position.sha256
    connection.execute(
        "UPDATE log_position"
        " SET position = :sequence, sha256 = :sha256, first = coalesce(:first, first)",
        {**position._asdict(), "first": first},
    )
