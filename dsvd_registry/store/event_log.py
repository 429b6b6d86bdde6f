"""The event log: one immutable file per event, `events/000000/000000042-<sha256>.json`.

The log is a write-ahead log, and the catalog is a view of it: an event takes effect when its file is
durable. The caller of `append` holds the catalog's write lock; the log itself has no lock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from .. import canonical, fs, hashing
from ..errors import RegistryError
from . import events
from .events import Event
from .registry_folder import RegistryFolder

SHARD = 1000

NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.json")
_SHARD_NAME = re.compile(r"\d{6}")
_RESTORE = "Restore the folder `events` from a copy of the registry."


class EventLog:
    """The events of one registry, numbered from 1 without a gap."""

    def __init__(self, folder: RegistryFolder) -> None:
        self._events, self._tmp = folder.events, folder.tmp

    def append(self, event: Event) -> None:
        """Write the event durably; it takes effect with that.

        Raises `RegistryError` if its number is taken, `StorageError`.
        """
        data = events.encode(event)
        shard = self._shard(event.sequence)
        if event.sequence in shard:
            raise RegistryError(
                f"event {event.sequence} is in {self._events} already: "
                "another program writes there without the catalog",
                "Run `dsvd catalog rebuild`.",
            )
        target = self._path(event.sequence, hashing.sha256(data))
        fs.make_folder(target.parent)
        if not shard:
            self._sync_shard_names()  # the maker of the folder may have crashed before its own sync
        fs.make_folder(self._tmp)
        with fs.new_file(self._tmp, len(data)) as file:
            file.write(data)
            file.publish(target, read_only=True)

    def after(self, sequence: int) -> Iterator[Event]:
        """The events numbered above `sequence`, in order.

        Raises `RegistryError` for a missing number, two files with one number, or a file whose
        bytes do not have the SHA-256 of its name; `StorageError`.
        """
        expected = sequence + 1
        while True:
            shard = self._shard(expected)
            numbers = sorted(number for number in shard if number >= expected)
            for number in numbers:
                if number != expected:
                    raise self._missing(expected)
                yield self._read(number, shard[number])
                expected += 1
            if not numbers or expected % SHARD:
                break
        if self._has_shard_above(expected // SHARD):
            raise self._missing(expected)

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

    def digest(self, sequence: int) -> str | None:
        """The SHA-256 in the name of one event's file; None without a file. Raises as `after`."""
        return self._shard(sequence).get(sequence)

    def has(self, sequence: int, sha256: str) -> bool:
        """True if there is an event with that number and digest; its file is not read.

        Raises `StorageError`.
        """
        path = self._path(sequence, sha256)
        with fs.storage_errors(path):
            return path.is_file() and not path.is_symlink()

    def _path(self, sequence: int, sha256: str) -> Path:
        return self._events / f"{sequence // SHARD:06}" / f"{sequence:09}-{sha256}.json"

    def _shard(self, sequence: int) -> dict[int, str]:
        """The SHA-256 of each event in the shard where `sequence` belongs."""
        folder = self._events / f"{sequence // SHARD:06}"
        found: dict[int, str] = {}
        with fs.storage_errors(folder):
            if folder.is_symlink():
                raise RegistryError(f"{folder} is a symbolic link", _RESTORE)
            if not folder.exists():
                return found
            for name in os.listdir(folder):  # noqa: PTH208 - paths would take twice as long
                match = NAME.fullmatch(name)
                if match is None or int(match[1]) // SHARD != sequence // SHARD:
                    if name[:1].isdigit():
                        # Otherwise an event that a sync program renamed would be ignored.
                        raise RegistryError(
                            f"{folder / name} does not belong into the event log", _RESTORE
                        )
                    continue
                number = int(match[1])
                if number in found:
                    raise RegistryError(
                        f"{folder} has two events numbered {number}",
                        "Two programs wrote to one copy of the registry. Keep the file whose "
                        "version you want, move the other away, and run `dsvd catalog rebuild`.",
                    )
                found[number] = match[2]
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

    def _read(self, sequence: int, sha256: str) -> Event:
        path = self._path(sequence, sha256)
        with fs.storage_errors(path):
            if path.is_symlink() or not path.is_file():
                raise RegistryError(f"{path} is not a plain file", _RESTORE)
            with path.open("rb") as file:
                data = file.read(canonical.MAX_SMALL + 1)
        if hashing.sha256(data) != sha256:
            raise RegistryError(f"{path} is damaged: its bytes do not have that SHA-256", _RESTORE)
        event = events.decode(data, str(path))
        if event.sequence != sequence:
            raise RegistryError(f"{path} contains the event {event.sequence}", _RESTORE)
        return event

    def _missing(self, sequence: int) -> RegistryError:
        return RegistryError(f"event {sequence} is missing from {self._events}", _RESTORE)
