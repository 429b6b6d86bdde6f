"""Folders that are filled beside their place: whole under their name, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from . import disk, files, names
from .errors import storage_errors
from .files import NewFile

FORMER = "former"
_MOST_OF_A_NAME = 50  # characters: with what is put behind them, they fit in any filesystem


class NewFolder:
    """A folder being filled; it has no lasting name until `publish`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def new_file(self, name: str, size: int | None = None) -> Iterator[NewFile]:
        """A file of it, at the path `name` from it on; it stays if the body ends without an error.

        `size`: as of `NewFile`.
        """
        target = self.path / name
        names.make_folder(target.parent)
        with files.new_file(target.parent, size) as file:
            yield file
            file.publish(target)

    def publish(self, target: Path, *, replace: bool = False) -> None:
        """Give the folder, whose files are durable, the name `target`, on the same filesystem.

        With `replace` a folder that is there is removed. No system that we run on has a portable call
        that exchanges two folders, so there is a moment at which nothing is at `target`: the former
        folder then lies beside it, whole, as `TARGET.former-<16 hexadecimal digits>`, which is no
        hidden name. Only when the new one is durably in its place does it become a temporary one,
        and is removed.

        Raises `Conflict` if `target` exists and `replace` is false, `StorageError`.
        """
        former = None
        with storage_errors(target):
            if replace and target.is_dir():
                former = _name_of_former(target)
                disk.rename(target, former)
            try:
                if os.path.lexists(target):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
                disk.rename(self.path, target)
            except OSError:
                if former is not None:
                    with contextlib.suppress(OSError):
                        disk.rename(former, target)
                raise
            names.sync_folder(target.parent)
        if former is not None:
            doomed = names.temporary_name(target.parent)
            with storage_errors(former):
                disk.rename(former, doomed)
                # Or it comes back after a loss of power, half removed, under the name of a whole one.
                names.sync_folder(target.parent)
            names.remove_temporary(doomed)


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[NewFolder]:
    """A `NewFolder` in `parent`; what was not published is removed on leaving.

    Raises `StorageError`.
    """
    files.check_folder(parent)
    path = names.temporary_name(parent)
    try:
        with storage_errors(parent):
            disk.make_folder(path)
        yield NewFolder(path)
    finally:
        with contextlib.suppress(OSError):
            names.remove_tree(path)


def _name_of_former(target: Path) -> Path:
    name = f"{target.name[:_MOST_OF_A_NAME]}.{FORMER}-{os.urandom(8).hex()}"
    return target.with_name(name)
