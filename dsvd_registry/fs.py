"""Durable files. Nothing else in the package creates, renames or deletes a file.

A file is written under a temporary name in the folder where it will live, synced, renamed, and
the folder synced: after a crash a name holds either nothing or the whole file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import Conflict, InvalidArgument, StorageError

TEMPORARY_PREFIX = ".dsvd-tmp-"

Bytes = bytes | bytearray | memoryview


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `StorageError` (or `Conflict`) that names `path`."""
    try:
        yield
    except FileExistsError as error:
        raise Conflict(
            f"{path} exists already", "Give another path, or --force to replace it."
        ) from error
    except OSError as error:
        hint = {
            errno.ENOSPC: "Free some space there and run the same command again.",
            errno.EDQUOT: "Free some space in your quota and run the same command again.",
            errno.EACCES: "Check the permissions of the folder, or give another path.",
            errno.EPERM: "Check the permissions of the folder, or give another path.",
            errno.EROFS: "The filesystem is read-only: give another path.",
            errno.ENOENT: "Check that the path is right.",
        }.get(error.errno or 0, "Check the disk and its messages.")
        reason = error.strerror or str(error)
        raise StorageError(f"{path}: {reason}", hint) from error


class NewFile:
    """A file being written; it has no lasting name until `publish`."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self._handle = handle
        self._placing = threading.Lock()

    def write(self, data: Bytes) -> None:
        """Append `data`. Raises `StorageError`."""
        with storage_errors(self.path.parent):
            self._handle.write(data)

    def write_at(self, position: int, data: Bytes) -> None:
        """Put `data` at `position`, whatever else is written yet; several threads may at once.

        Not to be mixed with `write`. Raises `StorageError`.
        """
        left = memoryview(data)
        with storage_errors(self.path.parent):
            while left:
                size = self._put(position, left)
                left, position = left[size:], position + size

    def _put(self, position: int, data: memoryview) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._handle.fileno(), data, position)
        with self._placing:
            self._handle.seek(position)
            return self._handle.write(data)

    def flush(self) -> None:
        """Let a reader of `path` see all that was written. Raises `StorageError`."""
        with storage_errors(self.path.parent):
            self._handle.flush()

    def publish(self, target: Path, *, replace: bool = False, read_only: bool = False) -> None:
        """Make the bytes durable and give them the name `target`, on the same filesystem.

        Raises `Conflict` if `target` exists and `replace` is false, `StorageError` otherwise.
        """
        with storage_errors(target):
            self._handle.flush()
            if read_only:
                self.path.chmod(stat.S_IMODE(self.path.stat().st_mode) & 0o555)
            os.fsync(self._handle.fileno())
            self._handle.close()
            if replace:
                self.path.replace(target)
            else:
                _rename_without_replacing(self.path, target)
            sync_folder(target.parent)


def check_place(path: Path, *, replace: bool) -> None:
    """Say before the work what `publish` would say after it: whether a file may have this name.

    Raises `Conflict` if it exists and `replace` is false, `InvalidArgument` for what is no plain
    file, `StorageError`.
    """
    with storage_errors(path):
        if path.exists() and not replace:
            raise FileExistsError(path)
        if path.exists() and not path.is_file():
            raise InvalidArgument(f"{path} is not a plain file", "Give the path of a file.")


@contextlib.contextmanager
def new_file(folder: Path) -> Iterator[NewFile]:
    """A `NewFile` in `folder`; what was not published is removed on leaving. Raises `StorageError`."""
    _check_folder(folder)
    path = folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    with storage_errors(folder):
        handle = path.open("xb")
    try:
        yield NewFile(path, handle)
    finally:
        with contextlib.suppress(OSError):
            handle.close()
        path.unlink(missing_ok=True)


class NewFolder:
    """A folder being filled; it has no lasting name until `publish`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[NewFile]:
        """A file of it, at the path `name` from it on; it stays if the body ends without an error."""
        target = self.path / name
        make_folder(target.parent)
        with new_file(target.parent) as file:
            yield file
            file.publish(target)

    def publish(self, target: Path, *, replace: bool = False) -> None:
        """Give the folder, whose files are durable, the name `target`, on the same filesystem.

        With `replace` a folder that is there is removed. A crash between leaves it under a temporary
        name. Raises `Conflict` if `target` exists and `replace` is false, `StorageError`.
        """
        aside = target.parent / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
        with storage_errors(target):
            if replace and target.is_dir():
                target.rename(aside)
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            try:
                self.path.rename(target)
            except OSError:
                if aside.exists():
                    aside.rename(target)
                raise
            sync_folder(target.parent)
        if aside.exists():
            with storage_errors(aside):
                shutil.rmtree(aside)


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[NewFolder]:
    """A `NewFolder` in `parent`; what was not published is removed on leaving.

    Raises `StorageError`.
    """
    _check_folder(parent)
    path = parent / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    with storage_errors(parent):
        path.mkdir()
    try:
        yield NewFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def scratch_file(folder: Path) -> Iterator[BinaryIO]:
    """A read-write file without a lasting name, gone on leaving. Raises `StorageError`."""
    path = folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    with storage_errors(folder):
        handle = path.open("x+b")
    try:
        yield handle
    finally:
        with contextlib.suppress(OSError):
            handle.close()
        path.unlink(missing_ok=True)


def write_file(
    target: Path, data: Bytes, *, replace: bool = False, read_only: bool = False
) -> None:
    """Write a whole small file durably. Raises `Conflict`, `StorageError`."""
    with new_file(target.parent) as file:
        file.write(data)
        file.publish(target, replace=replace, read_only=read_only)


def make_folder(path: Path) -> None:
    """Create `path` and its parents, durably; an existing folder is fine. Raises `StorageError`."""
    missing = []
    folder = path
    with storage_errors(path):
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def remove_file(path: Path) -> None:
    """Remove a file, durably; a missing one is fine. Raises `StorageError`."""
    with storage_errors(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_temporary(path: Path) -> None:
    """Remove what a writer left, a file or a folder with all that is in it. Raises `StorageError`."""
    if path.is_dir() and not path.is_symlink():
        with storage_errors(path):
            shutil.rmtree(path)
            sync_folder(path.parent)
    else:
        remove_file(path)


def rename(path: Path, target: Path) -> None:
    """Give a file another name on the same filesystem, durably, never over an existing one."""
    with storage_errors(target):
        _rename_without_replacing(path, target)
        sync_folder(target.parent)


def renew_time(path: Path) -> bool:
    """Set a file's modification time to now; False where it may not be set. Raises nothing."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def temporary_files(folder: Path) -> list[Path]:
    """What crashed writers left in `folder`."""
    return sorted(folder.glob(f"{TEMPORARY_PREFIX}*"))


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Windows has no such call and orders renames itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_folder(folder: Path) -> None:
    with storage_errors(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        raise StorageError(f"there is no folder {folder}", "Create it, or give another path.")


def _rename_without_replacing(path: Path, target: Path) -> None:
    """`link` + `unlink` fails where `target` exists; filesystems without links get a check first."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        path.rename(target)
    else:
        path.unlink()
