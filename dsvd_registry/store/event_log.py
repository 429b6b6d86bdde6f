"""The event log: one immutable file per event, `events/000000/000000042.json`.

The log is a write-ahead log, and the catalog is a view of it: an event takes effect when its file is
durable. The number alone is the name, and a name is given once: whoever creates the file has made the
commit. Each event has the SHA-256 of the one before it, so that the log is a chain, and a reader that
knows the last event that it has seen notices every other history.
"""

from __future__ import annotations

import contextlib
import os
import re
import time as clock
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import canonical, hashing
from ..errors import Conflict, NotFound, RegistryError, StorageError
from ..fs import is_of_the_file
from . import events
from .events import Change, Event
from .home import Home

SHARD = 1000

KEY = re.compile(r"events/(\d{6})/(\d{9})\.json")
FOLDER = re.compile(r"events/\d{6}/?")
_RESTORE = "Restore the folder `events` from a copy of the registry."


class Position(NamedTuple):
    """A place in the log: the number of an event, and its SHA-256; 0 and "" before the first."""

    sequence: int
    sha256: str


START = Position(0, "")

LEASE = 1.0  # seconds
"""The time for which the writer of an event supposes it to be the last one, where asking takes long."""


class LostRace(RegistryError):
    """An event that was not written, because another writer was faster and has its number."""

    default_hint = "Run the command again: others write to this registry all the time."


class EventLog:
    """The events of one registry, numbered from 1 without a gap."""

    def __init__(self, home: Home) -> None:
        self._name, self._backend, self._files = home.name, home.backend, home.files
        self._lease = LEASE if home.has_many_clients else 0.0
        self._written, self._until = START, 0.0

    def append(self, last: Position, time: str, changes: Sequence[Change]) -> Position:
        """Write the event that comes after `last` durably; its changes take effect with that.

        Raises `LostRace` if its number is taken, `StorageError`.
        """
        return self.write(
            Event(
                sequence=last.sequence + 1,
                time=time,
                previous=last.sha256 or None,
                write_id=os.urandom(16).hex(),
                changes=tuple(changes),
            )
        )

    def write(self, event: Event) -> Position:
        """Write an event durably under its number; the same one again changes nothing.

        The caller has the one before it. Raises as `append`.
        """
        data = events.encode(event)
        self._until = 0.0
        try:
            self._backend.create(event_key(event.sequence), data)
        except Conflict as error:
            # Some network filesystems report a link that they have made as one that was there.
            if self._data(event.sequence) != data:
                raise LostRace(
                    f"event {event.sequence} is in {self._name}/events already: another program "
                    "wrote it a moment ago"
                ) from error
            self.sync(event.sequence, event.sequence)
        self._written = Position(event.sequence, hashing.sha256(data))
        self._until = clock.monotonic() + self._lease
        return self._written

    def is_written_lately(self, position: Position | None = None) -> bool:
        """True if this object wrote an event a moment ago, to a log that is far away.

        `position`: that event; any by default. Likely it is the last event still, and whoever adds the
        next one is told if it is not.
        """
        return position in {None, self._written} and clock.monotonic() < self._until

    def after(self, last: Position = START) -> Iterator[tuple[Position, Event]]:
        """The events after `last` in order, each with its position.

        Raises `RegistryError` for a missing number, a damaged event, or one that names another event
        before it than the one that is there; `StorageError`.
        """
        keys = map(event_key, self._unbroken(last.sequence))
        with contextlib.closing(self._files.values(keys, canonical.MAX_SMALL + 1)) as values:
            try:
                for data in values:
                    last, event = self._decoded(last, data)
                    yield last, event
            except NotFound as error:
                raise RegistryError(str(error), _RESTORE) from error

    def pending(self, sequence: int) -> bool:
        """True if the log has events after `sequence`; needs no lock. Raises as `after`."""
        return next(self._numbers(sequence), None) is not None

    def sync(self, first: int, last: int) -> None:
        """Make the names of events durable, in case their writer crashed before it did so."""
        shards = range(first // SHARD, last // SHARD + 1)
        self._backend.settle(*(f"events/{shard:06}" for shard in shards))

    def has(self, position: Position) -> bool:
        """True if the log has this event, and False if it has none or another one in its place.

        One that is damaged is no other: `verify` names it, and the catalog still shows it. Raises
        `StorageError` if the machine refuses.
        """
        try:
            data = self._data(position.sequence)
        except RegistryError:
            return False
        except StorageError as error:
            if not is_of_the_file(error):
                raise
            return True
        return hashing.sha256(data) == position.sha256 or not events.is_whole(data)

    def place(self, sequence: int) -> str:
        """The place of an event, existing or not, for messages."""
        return f"{self._name}/{event_key(sequence)}"

    def _numbers(self, last: int) -> Iterator[int]:
        """The numbers of the events after `last`, in order."""
        for entry in self._backend.list("events/", event_key(last)):
            match = KEY.fullmatch(entry.key)
            if match is not None and int(match[2]) // SHARD == int(match[1]):
                yield int(match[2])
            elif not entry.is_plain:
                raise RegistryError(f"{self._name}/{entry.key} is a symbolic link", _RESTORE)
            elif FOLDER.fullmatch(entry.key) and not entry.size:
                continue  # some programs for buckets write an empty key for each folder
            elif entry.key.rpartition("/")[2][0].isdigit():
                # Otherwise an event that a sync program renamed would be ignored.
                raise RegistryError(
                    f"{self._name}/{entry.key} does not belong into the event log", _RESTORE
                )

    def _unbroken(self, last: int) -> Iterator[int]:
        """The numbers after `last`. Raises `RegistryError` for one that is missing below the highest."""
        for number in self._numbers(last):
            if number != last + 1:
                raise RegistryError(
                    f"event {last + 1} is missing from {self._name}/events", _RESTORE
                )
            yield number
            last = number

    def _decoded(self, last: Position, data: bytes) -> tuple[Position, Event]:
        """The event after `last`, which must name it."""
        sequence = last.sequence + 1
        place = self.place(sequence)
        event = events.decode(data, place)
        if event.sequence != sequence:
            raise RegistryError(f"{place} contains the event {event.sequence}", _RESTORE)
        if (event.previous or "") != last.sha256:
            raise RegistryError(
                f"{place} breaks the chain of events: it comes after an event {last.sequence} that has "
                f"the SHA-256 {event.previous}, and the one here has {last.sha256}",
                f"One of the two was replaced or damaged. {_RESTORE}",
            )
        return Position(sequence, hashing.sha256(data)), event

    def _data(self, sequence: int) -> bytes:
        try:
            return self._backend.read(event_key(sequence), 0, canonical.MAX_SMALL + 1)
        except NotFound as error:
            raise RegistryError(str(error), _RESTORE) from error


def event_key(sequence: int) -> str:
    """The key of an event."""
    return f"events/{sequence // SHARD:06}/{sequence:09}.json"
