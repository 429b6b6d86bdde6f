"""Damage: events are restored; objects are examined and moved to `quarantine/`.

Nothing in `quarantine/` is ever deleted.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

from .. import canonical, fs, hashing
from ..errors import Conflict, NotFound, RegistryError, StorageError
from . import events
from .event_log import KEY, EventLog, Position, event_key
from .events import Event
from .home import Found, Home
from .objects import ObjectStore, object_key

QUARANTINE = "quarantine/"


@dataclass(frozen=True)
class DamagedEvent:
    """An event whose bytes are damaged or missing.

    `place`: where they are, for messages; `is_there`: False if nothing is in that place. `sha256`:
    that of its right bytes, which the event after it has, or the catalog; None if that is damaged too.
    """

    sequence: int
    place: str
    is_there: bool
    sha256: str | None


def damaged_events(home: Home, shown: Position) -> list[DamagedEvent]:
    """The damaged and missing events, in order. Raises `StorageError`.

    `shown`: the last event that the catalog shows. The chain is followed from its end: each event that
    is whole tells the SHA-256 of the one before it.
    """
    log, found = EventLog(home), []
    names = (KEY.fullmatch(entry.key) for entry in home.backend.list("events/"))
    numbers = {int(name[2]) for name in names if name is not None}
    expected = None
    for sequence in range(max([shown.sequence, *numbers]), 0, -1):
        if sequence == shown.sequence and expected is None:
            expected = shown.sha256
        event = _whole_event(home, sequence, expected)
        if event is None:
            is_there = sequence in numbers
            found.append(DamagedEvent(sequence, log.place(sequence), is_there, expected))
        expected = None if event is None else event.previous
    return found[::-1]


def restore_event(home: Home, damaged: DamagedEvent, data: fs.Bytes) -> None:
    """Replace a damaged event by `data`. Raises `RegistryError` if `data` has another SHA-256."""
    if hashing.sha256(data) != damaged.sha256:
        raise RegistryError(f"that is not the event {damaged.sequence}")
    with home.backend.new_content() as content:
        content.write(data)
        content.publish(event_key(damaged.sequence))


def _whole_event(home: Home, sequence: int, sha256: str | None) -> Event | None:
    try:
        data = home.backend.read(event_key(sequence), 0, canonical.MAX_SMALL + 1)
    except (NotFound, RegistryError):
        return None
    except StorageError as error:  # an unreadable file is replaced just as a damaged one
        if not fs.is_of_the_file(error):
            raise
        return None
    if sha256 is not None and hashing.sha256(data) != sha256:
        return None
    try:
        event = events.decode(data, event_key(sequence))
    except RegistryError:
        return None
    return event if event.sequence == sequence else None


@dataclass(frozen=True)
class Examined:
    """The result of the examination of an object. `problem`: its damage in words, None if it is whole.

    `damaged`: what is in its place; None if there is nothing or it could not be read.
    """

    sha256: str
    problem: str | None = None
    damaged: Found | None = None

    @property
    def in_the_way(self) -> bool:
        """True for a link or a folder, which an object cannot replace."""
        return self.damaged is not None and not self.damaged.is_plain


def examine(home: Home, sha256: str) -> Examined:
    """Read an object whole, and describe its damage, which raises no error here.

    Raises `StorageError` if the machine refuses.
    """
    damaged = None
    try:
        damaged = home.files.found(object_key(sha256))
        ObjectStore(home).check(sha256)
    except RegistryError as error:
        return Examined(sha256, str(error), damaged)
    except StorageError as error:
        if not fs.is_of_the_file(error):
            raise
        return Examined(sha256, f"object {sha256} cannot be read: {error}")
    return Examined(sha256)


class Quarantine:
    """The damaged objects that were set aside."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def set_aside(self, examined: Examined) -> str | None:
        """Move damaged bytes into the quarantine, under a name of their own; gives their place.

        Gives None if other bytes are there by now, or none. The caller blocks writes meanwhile, so
        that no version can come to need the object. Raises `StorageError`, `RegistryError` if the
        shard or the quarantine is a link.
        """
        if examined.damaged is None:
            return None
        files, key = self._home.files, object_key(examined.sha256)
        for number in itertools.count():
            suffix = f".{number}" if number else ""
            target = f"{QUARANTINE}{examined.sha256}{suffix}"
            try:
                moved = files.set_aside(key, examined.damaged, target)
            except Conflict:
                continue
            return self._place(target) if moved else None
        return None

    def whole(self, sha256: str) -> str | None:
        """The place of bytes that were set aside and are whole after all; None if there are none.

        What cannot be read is left out.
        """
        for key in self._keys(sha256):
            with contextlib.suppress(RegistryError, StorageError):
                if hashing.sha256_of(self._home.files.chunks(key)) == sha256:
                    return self._place(key)
        return None

    def put_back(self, place: str, objects: ObjectStore) -> None:
        """Make an object of bytes that were set aside. Raises `StorageError`."""
        with objects.new_object() as writer:
            for chunk in self._home.files.chunks(place.removeprefix(f"{self._home.name}/")):
                writer.write(chunk)
            writer.commit()

    def last(self, sha256: str) -> str | None:
        """The place of the bytes of an object that were set aside last; None if there are none."""
        keys = self._keys(sha256)
        return self._place(keys[-1]) if keys else None

    def size(self) -> int:
        """The size of all quarantined files in bytes. Raises `StorageError`."""
        return sum(size for _, size in self._entries())

    def _keys(self, sha256: str) -> list[str]:
        """The keys of the bytes of an object that were set aside, the last one last."""
        keys = [key for key, _ in self._entries() if key.startswith(QUARANTINE + sha256)]
        return sorted(keys, key=lambda key: (len(key), key))

    def _entries(self) -> list[tuple[str, int]]:
        return [(entry.key, entry.size) for entry in self._home.backend.list(QUARANTINE)]

    def _place(self, key: str) -> str:
        return f"{self._home.name}/{key}"
