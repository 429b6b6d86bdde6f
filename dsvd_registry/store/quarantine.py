"""Damaged objects: found out, and set aside in `quarantine/`, where nothing is ever deleted."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .. import fs
from ..errors import Conflict, RegistryError, StorageError
from .objects import ObjectStore


@dataclass(frozen=True)
class Examined:
    """What an object was found to be. `problem`: what is wrong with it, None for a whole one.

    `damaged`: which file it is that has other bytes (device, inode, size, time), None where nothing
    is there or it could not be read. `in_the_way`: it is no plain file, which no object can replace.
    """

    sha256: str
    problem: str | None = None
    damaged: tuple[int, ...] | None = None
    in_the_way: bool = False


def examine(objects: ObjectStore, sha256: str) -> Examined:
    """Read an object whole, and say what is wrong with it. Damage is no exception here."""
    damaged, in_the_way = None, False
    try:
        place = objects.place(sha256)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = place.lstat()
            damaged = _identity(status)
            in_the_way = not stat.S_ISREG(status.st_mode)
        objects.check(sha256)
    except RegistryError as error:
        return Examined(sha256, str(error), damaged, in_the_way)
    except (StorageError, OSError) as error:
        return Examined(sha256, f"object {sha256} cannot be read: {error}")
    return Examined(sha256)


class Quarantine:
    """What was set aside of the objects of one registry. Its folder is there only when something was."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.folder = objects.folder.quarantine

    def set_aside(self, found: Examined) -> Path | None:
        """Move a damaged file out of the way, to a name of its own; gives where.

        None where there is another file by now, or none. Whoever calls this keeps others from naming
        the object meanwhile. Raises `StorageError`, `RegistryError` where a link stands in its place.
        """
        if found.damaged is None:
            return None
        place = self._objects.place(found.sha256)
        with contextlib.suppress(FileNotFoundError):
            if _identity(place.lstat()) != found.damaged:
                return None
            if self.folder.is_symlink():
                raise RegistryError(f"{self.folder} is a symbolic link", "Remove it.")
            fs.make_folder(self.folder)
            for number in itertools.count():
                suffix = f".{number}" if number else ""
                target = self.folder / f"{found.sha256}{suffix}"
                with contextlib.suppress(Conflict):
                    fs.move(place, target)
                    return target
        return None

    def last(self, sha256: str) -> Path | None:
        """Where the damaged bytes of an object lie that were set aside last."""
        there = self.folder.glob(f"{sha256}*")
        return max(there, key=lambda path: (len(path.name), path.name), default=None)

    def size(self) -> int:
        """Bytes of all that was set aside. Raises `StorageError`."""
        with fs.storage_errors(self.folder):
            return sum(path.lstat().st_size for path in self.folder.glob("*"))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
