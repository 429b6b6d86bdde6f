"""New files, written under a temporary name: a lasting name has the complete file, or none."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidArgument, StorageError
from . import disk, entries
from .errors import storage_error, storage_errors

Bytes = bytes | bytearray | memoryview


class NewFile:
    """A file being written; it has no lasting name until `publish`.

    `size`: the planned number of bytes; None if it is not known before.
    """

    def __init__(self, path: Path, handle: BinaryIO, size: int | None = None) -> None:
        self.path = path
        self._handle, self._size = handle, size
        self._placing = threading.Lock()

    def write(self, data: Bytes) -> None:
        """Append `data`. Raises `StorageError`."""
        try:
            self._handle.write(data)
        except OSError as error:
            raise storage_error(error, self.path.parent) from error

    def write_at(self, position: int, data: Bytes) -> None:
        """Write `data` at `position`, in any order; several threads may call it at once.

        It must not be mixed with `write`. Raises `StorageError`.
        """
        left = memoryview(data)
        with storage_errors(self.path.parent):
            while left:
                size = self._put(position, left)
                left, position = left[size:], position + size

    def _put(self, position: int, data: memoryview) -> int:
        if hasattr(os, "pwrite"):
            return disk.write_at(self._handle.fileno(), data, position)
        with self._placing:
            self._handle.seek(position)
            return self._handle.write(data)

    def flush(self) -> None:
        """Make all written bytes visible to a reader of `path`. Raises `StorageError`."""
        with storage_errors(self.path.parent):
            self._handle.flush()

    def set_status(self, mode: int, mtime_ns: int) -> None:
        """Give the file permissions and a modification time; after the last `write`.

        Raises `StorageError`.
        """
        with storage_errors(self.path.parent):
            self._handle.flush()
        entries.set_status(self.path, mode, mtime_ns)

    def publish(self, target: Path, *, replace: bool = False, read_only: bool = False) -> None:
        """Make the bytes durable and give them the name `target`, on the same filesystem.

        Raises `Conflict` if `target` exists and `replace` is false; `StorageError`, also if the file
        does not have the planned size.
        """
        with storage_errors(target):
            self._handle.flush()
            self._check_size(target)
            if read_only:
                disk.make_read_only(self.path)
            disk.sync(self._handle.fileno())
            self._handle.close()
            if replace:
                entries.replace(self.path, target)
            else:
                entries.rename_without_replacing(self.path, target)
            entries.sync_folder(target.parent)

    def _check_size(self, target: Path) -> None:
        size = os.fstat(self._handle.fileno()).st_size
        if self._size is not None and size != self._size:
            raise StorageError(
                f"{target}: {size} bytes were written, where {self._size} were planned",
                "Nothing was left behind. Check the disk, and report this if it happens again.",
            )


def check_place(path: Path, *, replace: bool) -> None:
    """Check, before the work, that `publish` can give a file this path.

    Raises `Conflict` if it exists and `replace` is false, `InvalidArgument` if it exists and is not a
    plain file, `StorageError`.
    """
    with storage_errors(path):
        if path.exists() and not replace:
            raise FileExistsError(path)
        if path.exists() and not path.is_file():
            raise InvalidArgument(f"{path} is not a plain file", "Give the path of a file.")


def check_folder(folder: Path) -> None:
    """Raise `StorageError` if there is no such folder."""
    with storage_errors(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        raise StorageError(f"there is no folder {folder}", "Create it, or give another path.")


@contextlib.contextmanager
def new_file(folder: Path, size: int | None = None) -> Iterator[NewFile]:
    """A `NewFile` in `folder`, removed on leaving unless it was published. Raises `StorageError`."""
    check_folder(folder)
    with _temporary(folder, readable=False) as (path, handle):
        yield NewFile(path, handle, size)


@contextlib.contextmanager
def scratch_file(folder: Path) -> Iterator[BinaryIO]:
    """A read-write file without a lasting name, removed on leaving. Raises `StorageError`."""
    with _temporary(folder, readable=True) as (_, handle):
        yield handle


@contextlib.contextmanager
def _temporary(folder: Path, *, readable: bool) -> Iterator[tuple[Path, BinaryIO]]:
    path = entries.temporary_name(folder)
    with (
        contextlib.ExitStack() as leaving
    ):  # before the file exists: a signal may come at any moment
        leaving.callback(entries.discard, path)
        with storage_errors(folder):
            handle = disk.create(path, readable=readable)
        leaving.callback(_close, handle)
        yield path, handle


def read_back(scratch: BinaryIO, position: int, size: int) -> bytes:
    """Read bytes of a scratch file. Raises `StorageError` if some of them are missing."""
    scratch.seek(position)
    data = scratch.read(size)
    if len(data) != size:
        raise StorageError(
            f"a temporary file gave back {len(data)} bytes of the {size} that were written to it",
            "Check the disk and its messages.",
        )
    return data


def _close(handle: BinaryIO) -> None:
    with contextlib.suppress(OSError):  # a failed write was reported before
        handle.close()


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[BinaryIO]:
    """A new file for what a program has to say as it runs; an earlier one of the name is replaced.

    It is not durable: nothing depends on it. Raises `StorageError`.
    """
    with storage_errors(path):
        entries.unlink(path)
        handle = disk.create(path)
    with handle:
        yield handle


def write_file(
    target: Path, data: Bytes, *, replace: bool = False, read_only: bool = False
) -> None:
    """Write a whole small file durably. Raises `Conflict`, `StorageError`."""
    with new_file(target.parent, memoryview(data).nbytes) as file:
        file.write(data)
        file.publish(target, replace=replace, read_only=read_only)
