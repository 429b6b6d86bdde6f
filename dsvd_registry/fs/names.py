"""Names of files and folders: given, taken away, and made durable."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from . import disk
from .errors import storage_errors

TEMPORARY_PREFIX = ".dsvd-tmp-"


def temporary_name(folder: Path) -> Path:
    """A name in `folder` that nothing has."""
    return folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"


def temporary_files(folder: Path) -> list[Path]:
    """What crashed writers left in `folder`."""
    return sorted(folder.glob(f"{TEMPORARY_PREFIX}*"))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Windows has no such call and orders renames itself."""
    if not disk.WINDOWS:
        disk.sync_folder(folder)


def make_folder(path: Path) -> None:
    """Create `path` and its parents, durably; an existing folder is fine. Raises `StorageError`."""
    missing = []
    folder = path
    with storage_errors(path):
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            try:
                disk.make_folder(folder)
            except FileExistsError:  # another program was quicker
                if not folder.is_dir():
                    raise
            sync_folder(folder.parent)


def rename(path: Path, target: Path) -> None:
    """Give a file another name on the same filesystem, durably, never over an existing one.

    Raises `Conflict`, `StorageError`.
    """
    with storage_errors(target):
        rename_without_replacing(path, target)
        sync_folder(target.parent)


def move(path: Path, target: Path) -> None:
    """Give a file a name in another folder of its filesystem in place of its own, never over another.

    A loss of power at any moment leaves it one of the two names, or both: the same move again ends
    that. Raises `Conflict` if another file is at `target`, `StorageError`.
    """
    with storage_errors(target):
        try:
            disk.link(path, target)
        except FileExistsError:
            if not os.path.samestat(path.lstat(), target.lstat()):
                raise
        except OSError:
            rename_without_replacing(path, target)
        sync_folder(target.parent)
        unlink(path)
        sync_folder(path.parent)


def rename_without_replacing(path: Path, target: Path) -> None:
    """`link` + `unlink` fails where `target` exists, and so does a renaming on Windows.

    Filesystems without links get a check first. Raises `OSError`.
    """
    if disk.WINDOWS:  # where a second name of a read-only file could not be taken away
        disk.rename(path, target)
        return
    try:
        disk.link(path, target)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        disk.rename(path, target)
    else:
        disk.unlink(path)


def replace(path: Path, target: Path) -> None:
    """Give a file the name `target`, whatever file has it. Raises `OSError`."""
    if disk.WINDOWS:
        _let_go(target)
    disk.replace(path, target)


def unlink(path: Path) -> None:
    """Take a name away; a missing one is fine. Raises `OSError`."""
    if disk.WINDOWS:
        _let_go(path)
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it. Raises `OSError`."""
    if disk.WINDOWS:
        for folder, _, files in os.walk(path):
            for name in files:
                _let_go(Path(folder, name))
    disk.remove_tree(path)


def remove_file(path: Path) -> None:
    """Remove a file, durably; a missing one is fine. Raises `StorageError`."""
    with storage_errors(path):
        unlink(path)
        sync_folder(path.parent)


def remove_temporary(path: Path) -> None:
    """Remove what a writer left, a file or a folder with all that is in it. Raises `StorageError`."""
    if path.is_dir() and not path.is_symlink():
        with storage_errors(path):
            remove_tree(path)
            sync_folder(path.parent)
    else:
        remove_file(path)


def discard(path: Path) -> None:
    """Remove a temporary file if that is possible: of one that stays, gc takes care."""
    with contextlib.suppress(OSError):
        unlink(path)


def renew_time(path: Path) -> bool:
    """Set a file's modification time to now; False where it may not be set. Raises nothing."""
    try:
        disk.renew_time(path)
    except OSError:
        return False
    return True


def _let_go(path: Path) -> None:
    """Windows neither deletes nor replaces a file that is read-only."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode) and not mode & stat.S_IWRITE:
        disk.make_writable(path)
