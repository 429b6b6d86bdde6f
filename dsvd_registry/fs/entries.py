"""Directory entries: names of files and folders, given, removed, and made durable."""

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
    """A free temporary name in `folder`."""
    return folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"


def temporary_files(folder: Path) -> list[Path]:
    """The temporary files and folders in `folder`, of writers at work or crashed."""
    return sorted(folder.glob(f"{TEMPORARY_PREFIX}*"))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Windows has no such call, and orders renames by itself."""
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
            except FileExistsError:  # another program was faster
                if not folder.is_dir():
                    raise
            sync_folder(folder.parent)


def rename(path: Path, target: Path) -> None:
    """Rename a file durably on the same filesystem; an existing target is never replaced.

    Raises `Conflict`, `StorageError`.
    """
    with storage_errors(target):
        rename_without_replacing(path, target)
        sync_folder(target.parent)


def move(path: Path, target: Path) -> None:
    """Move a file to another folder of its filesystem; an existing target is never replaced.

    After a loss of power the file has one of the two names, or both; then the same move again
    completes it. Raises `Conflict` if another file is at `target`, `StorageError`.
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
    """Rename a file by `link` and `unlink`, which fails if `target` exists, as a rename on Windows does.

    A filesystem without links gets a check and a rename instead. Raises `OSError`.
    """
    if disk.WINDOWS:  # where the old name of a read-only file could not be removed
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
    """Rename a file, and replace an existing target. Raises `OSError`."""
    if disk.WINDOWS:
        _make_removable(target)
    disk.replace(path, target)


def unlink(path: Path) -> None:
    """Remove a name; a missing one is fine. Raises `OSError`."""
    if disk.WINDOWS:
        _make_removable(path)
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)


def remove_tree(path: Path) -> None:
    """Remove a folder with everything in it. Raises `OSError`."""
    if disk.WINDOWS:
        for folder, _, files in os.walk(path):
            for name in files:
                _make_removable(Path(folder, name))
    disk.remove_tree(path)


def remove_file(path: Path) -> None:
    """Remove a file, durably; a missing one is fine. Raises `StorageError`."""
    with storage_errors(path):
        unlink(path)
        sync_folder(path.parent)


def replace_by_link(path: Path, leads_to: Path) -> None:
    """Put a symbolic link in the place of a file, in one step, durably. Raises `StorageError`."""
    temporary = temporary_name(path.parent)
    try:
        with storage_errors(path):
            disk.symlink(temporary, leads_to)
            replace(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        discard(temporary)
        raise


def set_status(path: Path, mode: int, mtime_ns: int) -> None:
    """Give a file permissions and a modification time. Raises `StorageError`."""
    with storage_errors(path):
        disk.set_mode(path, mode)
        disk.set_mtime(path, mtime_ns)


def remove_temporary(path: Path) -> None:
    """Remove a temporary file, or a temporary folder with everything in it. Raises `StorageError`."""
    if path.is_dir() and not path.is_symlink():
        with storage_errors(path):
            remove_tree(path)
            sync_folder(path.parent)
    else:
        remove_file(path)


def discard(path: Path) -> None:
    """Remove a temporary file if possible; garbage collection removes one that stays."""
    with contextlib.suppress(OSError):
        unlink(path)


def renew_time(path: Path) -> bool:
    """Set a file's modification time to now; gives False if that is not permitted. Raises nothing."""
    try:
        disk.renew_time(path)
    except OSError:
        return False
    return True


def _make_removable(path: Path) -> None:
    """Make a read-only file writable, because Windows neither deletes nor replaces one."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode) and not mode & stat.S_IWRITE:
        disk.make_writable(path)
