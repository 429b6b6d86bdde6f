"""Damage: events are restored; objects are examined and moved to `quarantine/`.

Nothing in `quarantine/` is ever deleted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from .. import canonical, fs, hashing
from ..errors import Conflict, RegistryError, StorageError
from . import events
from .event_log import EventLog, Position
from .events import Event
from .objects import ObjectStore
from .registry_folder import RegistryFolder

_NAME = re.compile(r"(\d{9})\.json")


@dataclass(frozen=True)
class DamagedEvent:
    """An event whose file is damaged or missing.

    `sha256`: that of its right bytes, which the event after it has, or the catalog; None if that is
    damaged too.
    """

    sequence: int
    path: Path
    sha256: str | None


def damaged_events(folder: RegistryFolder, shown: Position) -> list[DamagedEvent]:
    """The damaged and missing events, in order. Raises `StorageError`.

    `shown`: the last event that the catalog shows. The chain is followed from its end: each event that
    is whole tells the SHA-256 of the one before it.
    """
    log, found = EventLog(folder), []
    with fs.storage_errors(folder.events):
        names = (_NAME.fullmatch(path.name) for path in folder.events.glob("*/*"))
        numbers = {int(name[1]) for name in names if name is not None}
    expected = None
    for sequence in range(max([shown.sequence, *numbers]), 0, -1):
        path = log.path(sequence)
        if sequence == shown.sequence and expected is None:
            expected = shown.sha256
        event = _whole_event(path, sequence, expected)
        if event is None:
            found.append(DamagedEvent(sequence, path, expected))
        expected = None if event is None else event.previous
    return found[::-1]


def restore_event(folder: RegistryFolder, damaged: DamagedEvent, data: fs.Bytes) -> None:
    """Replace a damaged event by `data`. Raises `RegistryError` if `data` has another SHA-256."""
    if hashing.sha256(data) != damaged.sha256:
        raise RegistryError(f"that is not the event {damaged.path.name}")
    fs.make_folder(folder.tmp)
    fs.make_folder(damaged.path.parent)
    with fs.new_file(folder.tmp, memoryview(data).nbytes) as file:
        file.write(data)
        file.publish(damaged.path, replace=True, read_only=True)


def _whole_event(path: Path, sequence: int, sha256: str | None) -> Event | None:
    if path.parent.is_symlink() or path.is_symlink() or not path.is_file():
        return None
    try:
        with fs.storage_errors(path), path.open("rb") as file:
            data = file.read(canonical.MAX_SMALL + 1)
    except StorageError as error:  # an unreadable file is replaced just as a damaged one
        if not fs.is_of_the_file(error):
            raise
        return None
    if sha256 is not None and hashing.sha256(data) != sha256:
        return None
    try:
        event = events.decode(data, str(path))
    except RegistryError:
        return None
    return event if event.sequence == sequence else None


@dataclass(frozen=True)
class Examined:
    """The result of the examination of an object. `problem`: its damage in words, None if it is whole.

    `damaged`: the identity of the damaged file (device, inode, size, time); None if there is no file or
    it could not be read. `in_the_way`: True for a link or a folder, which an object cannot replace.
    """

    sha256: str
    problem: str | None = None
    damaged: tuple[int, ...] | None = None
    in_the_way: bool = False


def examine(objects: ObjectStore, sha256: str) -> Examined:
    """Read an object whole, and describe its damage, which raises no error here.

    Raises `StorageError` if the machine refuses.
    """
    damaged, in_the_way = None, False
    try:
        place = objects.place(sha256)
        with (
            fs.storage_errors(place),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
        ):
            status = place.lstat()
            damaged = _identity(status)
            in_the_way = not stat.S_ISREG(status.st_mode)
        objects.check(sha256)
    except RegistryError as error:
        return Examined(sha256, str(error), damaged, in_the_way)
    except StorageError as error:
        if not fs.is_of_the_file(error):
            raise
        return Examined(sha256, f"object {sha256} cannot be read: {error}")
    return Examined(sha256)


class Quarantine:
    """The damaged objects that were set aside. The folder is made with the first of them."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.folder = objects.folder.quarantine

    def set_aside(self, examined: Examined) -> Path | None:
        """Move a damaged file into the quarantine, under a name of its own; gives its path.

        Gives None if the file is another one by now, or gone. The caller blocks writes meanwhile, so
        that no version can come to need the object. Raises `StorageError`, `RegistryError` if the
        shard or the quarantine is a link.
        """
        if examined.damaged is None:
            return None
        place = self._objects.place(examined.sha256)
        with contextlib.suppress(FileNotFoundError):
            if _identity(place.lstat()) != examined.damaged:
                return None
            if self.folder.is_symlink():
                raise RegistryError(f"{self.folder} is a symbolic link", "Remove it.")
            fs.make_folder(self.folder)
            for number in itertools.count():
                suffix = f".{number}" if number else ""
                target = self.folder / f"{examined.sha256}{suffix}"
                with contextlib.suppress(Conflict):
                    fs.move(place, target)
                    return target
        return None

    def last(self, sha256: str) -> Path | None:
        """The path of the bytes of an object that were set aside last; None if there are none."""
        paths = self.folder.glob(f"{sha256}*")
        return max(paths, key=lambda path: (len(path.name), path.name), default=None)

    def size(self) -> int:
        """The size of all quarantined files in bytes. Raises `StorageError`."""
        with fs.storage_errors(self.folder):
            return sum(path.lstat().st_size for path in self.folder.glob("*"))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
