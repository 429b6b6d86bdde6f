"""The event log: one immutable file per event, `events/000000/000000042.json`.

The log is a write-ahead log, and the catalog is a view of it: an event takes effect when its file is
durable. The number alone is the name, and a name is given once: whoever creates the file has made the
commit. Each event has the SHA-256 of the one before it, so that the log is a chain, and a reader that
knows the last event that it has seen notices every other history.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import canonical, fs, hashing
from ..errors import Conflict, RegistryError, StorageError
from . import events
from .events import Change, Event
from .registry_folder import RegistryFolder

SHARD = 1000

NAME = re.compile(r"(\d{9})\.json")
_SHARD_NAME = re.compile(r"\d{6}")
_RESTORE = "Restore the folder `events` from a copy of the registry."


class Position(NamedTuple):
    """A place in the log: the number of an event, and its SHA-256; 0 and "" before the first."""

    sequence: int
    sha256: str


START = Position(0, "")


class EventLog:
    """The events of one registry, numbered from 1 without a gap."""

    def __init__(self, folder: RegistryFolder) -> None:
        self._events, self._tmp = folder.events, folder.tmp

    def append(self, last: Position, time: str, changes: Sequence[Change]) -> Position:
        """Write the event that comes after `last` durably; its changes take effect with that.

        Raises `RegistryError` if its number is taken, `StorageError`.
        """
        event = Event(
            sequence=last.sequence + 1,
            time=time,
            previous=last.sha256 or None,
            write_id=os.urandom(16).hex(),
            changes=tuple(changes),
        )
        data = events.encode(event)
        target = self.path(event.sequence)
        fs.make_folder(target.parent)
        if event.sequence % SHARD == 0 or event.sequence == 1:
            self._sync_shard_names()  # the maker of the folder may have crashed before its own sync
        fs.make_folder(self._tmp)
        try:
            with fs.new_file(self._tmp, len(data)) as file:
                file.write(data)
                file.publish(target, read_only=True)
        except Conflict as error:
            # Some network filesystems report a link that they have made as one that was there.
            if self._data(event.sequence) != data:
                raise RegistryError(
                    f"event {event.sequence} is in {self._events} already: "
                    "another program writes there without the catalog",
                    "Run `dsvd catalog rebuild`.",
                ) from error
            self.sync(event.sequence, event.sequence)
        return Position(event.sequence, hashing.sha256(data))

    def after(self, last: Position = START) -> Iterator[tuple[Position, Event]]:
        """The events after `last` in order, each with its position.

        Raises `RegistryError` for a missing number, a damaged event, or one that another event comes
        before than the one that it names; `StorageError`.
        """
        while True:
            shard = self._shard(last.sequence + 1)
            numbers = sorted(number for number in shard if number > last.sequence)
            for number in numbers:
                if number != last.sequence + 1:
                    raise self._missing(last.sequence + 1)
                last, event = self._read(last)
                yield last, event
            if not numbers or (last.sequence + 1) % SHARD:
                break
        if self._has_shard_above((last.sequence + 1) // SHARD):
            raise self._missing(last.sequence + 1)

    def pending(self, sequence: int) -> bool:
        """True if the log has events after `sequence`; needs no lock. Raises as `after`."""
        return any(number > sequence for number in self._shard(sequence + 1))

    def sync(self, first: int, last: int) -> None:
        """Make the names of events durable, in case their writer crashed before it did so."""
        for shard in range(first // SHARD, last // SHARD + 1):
            folder = self._events / f"{shard:06}"
            with fs.storage_errors(folder):
                fs.sync_folder(folder)
        self._sync_shard_names()

    def has(self, position: Position) -> bool:
        """True if the log has this event, and False if it has none or another one in its place.

        One that is damaged is no other: `verify` names it, and the catalog still shows it. Raises
        `StorageError` if the machine refuses.
        """
        path = self.path(position.sequence)
        with fs.storage_errors(path):
            if path.parent.is_symlink() or path.is_symlink() or not path.is_file():
                return False
        try:
            data = self._data(position.sequence)
        except StorageError as error:
            if not fs.is_of_the_file(error):
                raise
            return True
        return hashing.sha256(data) == position.sha256 or not events.is_whole(data)

    def path(self, sequence: int) -> Path:
        """The path of an event, existing or not."""
        return self._events / f"{sequence // SHARD:06}" / f"{sequence:09}.json"

    def _shard(self, sequence: int) -> set[int]:
        """The numbers of the events in the shard where `sequence` belongs."""
        folder = self._events / f"{sequence // SHARD:06}"
        found: set[int] = set()
        with fs.storage_errors(folder):
            if folder.is_symlink():
                raise RegistryError(f"{folder} is a symbolic link", _RESTORE)
            if not folder.exists():
                return found
            for name in os.listdir(folder):  # noqa: PTH208 - paths would take twice as long
                match = NAME.fullmatch(name)
                if match is not None and int(match[1]) // SHARD == sequence // SHARD:
                    found.add(int(match[1]))
                elif name[:1].isdigit():
                    # Otherwise an event that a sync program renamed would be ignored.
                    raise RegistryError(
                        f"{folder / name} does not belong into the event log", _RESTORE
                    )
        return found

    def _sync_shard_names(self) -> None:
        with fs.storage_errors(self._events):
            fs.sync_folder(self._events)

    def _has_shard_above(self, number: int) -> bool:
        if not self._events.exists():
            return False
        with fs.storage_errors(self._events):
            return any(
                _SHARD_NAME.fullmatch(path.name) and int(path.name) > number
                for path in self._events.iterdir()
            )

    def _read(self, last: Position) -> tuple[Position, Event]:
        """The event after `last`, which must name it."""
        sequence = last.sequence + 1
        path, data = self.path(sequence), self._data(sequence)
        event = events.decode(data, str(path))
        if event.sequence != sequence:
            raise RegistryError(f"{path} contains the event {event.sequence}", _RESTORE)
        if (event.previous or "") != last.sha256:
            raise RegistryError(
                f"{path} breaks the chain of events: it comes after an event {last.sequence} that has "
                f"the SHA-256 {event.previous}, and the one here has {last.sha256}",
                f"One of the two was replaced or damaged. {_RESTORE}",
            )
        return Position(sequence, hashing.sha256(data)), event

    def _data(self, sequence: int) -> bytes:
        path = self.path(sequence)
        with fs.storage_errors(path):
            if path.is_symlink() or not path.is_file():
                raise RegistryError(f"{path} is not a plain file", _RESTORE)
            with path.open("rb") as file:
                return file.read(canonical.MAX_SMALL + 1)

    def _missing(self, sequence: int) -> RegistryError:
        return RegistryError(f"event {sequence} is missing from {self._events}", _RESTORE)
