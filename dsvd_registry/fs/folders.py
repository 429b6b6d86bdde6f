"""New folders, filled under a temporary name: a lasting name has the complete folder, or none."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from . import disk, entries, files
from .errors import storage_errors
from .files import NewFile

FORMER = "former"
_MAX_PREFIX = 50  # characters of a name: with the suffix they fit into any filesystem


class NewFolder:
    """A folder being filled; it has no lasting name until `publish`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def new_file(self, name: str, size: int | None = None) -> Iterator[NewFile]:
        """A new file at the relative path `name`; it stays if the `with` block ends without an error.

        `size`: as for `NewFile`.
        """
        target = self.path / name
        entries.make_folder(target.parent)
        with files.new_file(target.parent, size) as file:
            yield file
            file.publish(target)

    def publish(self, target: Path, *, replace: bool = False) -> None:
        """Give the folder, whose files are durable, the name `target`, on the same filesystem.

        With `replace`, an existing folder is replaced. There is no portable call that exchanges two
        folders, so for a moment `target` does not exist: the former folder then has the visible name
        `TARGET.former-<16 hexadecimal digits>` in the same parent. It gets a temporary name and is
        removed only after the new folder is durable.

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
            entries.sync_folder(target.parent)
        if former is not None:
            doomed = entries.temporary_name(target.parent)
            with storage_errors(former):
                disk.rename(former, doomed)
                # Otherwise a loss of power could bring it back half removed under its visible name.
                entries.sync_folder(target.parent)
            entries.remove_temporary(doomed)


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[NewFolder]:
    """A `NewFolder` in `parent`, removed on leaving unless it was published.

    Raises `StorageError`.
    """
    files.check_folder(parent)
    path = entries.temporary_name(parent)
    try:
        with storage_errors(parent):
            disk.make_folder(path)
        yield NewFolder(path)
    finally:
        with contextlib.suppress(OSError):
            entries.remove_tree(path)


def _name_of_former(target: Path) -> Path:
    name = f"{target.name[:_MAX_PREFIX]}.{FORMER}-{os.urandom(8).hex()}"
    return target.with_name(name)
