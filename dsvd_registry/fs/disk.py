"""The few calls that change a disk. All of `fs` uses them, and nothing else writes.

The rest of `fs` calls them through this module (`disk.link(...)`), so that tests can replace them by
functions that record a call, refuse it, or behave as another system does.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

WINDOWS = os.name == "nt"
# On macOS `fsync` leaves the bytes in the cache of the drive; this call empties that cache.
FULL_SYNC: int | None = None if sys.platform == "win32" else getattr(fcntl, "F_FULLFSYNC", None)
_UNKNOWN_TO_THE_FILESYSTEM = (errno.ENOTSUP, errno.ENOTTY, errno.EINVAL)


def create(path: Path, *, readable: bool = False) -> BinaryIO:
    """Create a file and open it for writing; an existing file is refused."""
    return path.open("x+b" if readable else "xb")


def open_lock(path: Path) -> int:
    """Open an empty file that stands for a lock, created if it does not exist; gives its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def write_at(descriptor: int, data: memoryview, position: int) -> int:
    """Write `data` at `position`; gives the number of bytes written. Not on Windows."""
    return os.pwrite(descriptor, data, position)


def sync(descriptor: int) -> None:
    """Make the content of an open file, or the names in an open folder, durable."""
    if FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, FULL_SYNC)
        except OSError as error:
            # Any other error is one of the disk, which a second call of `fsync` might not report.
            if error.errno not in _UNKNOWN_TO_THE_FILESYSTEM:
                raise
        else:
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Not on Windows."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def link(path: Path, target: Path) -> None:
    """Give a file (or a link itself) a second name; an existing name is refused."""
    os.link(path, target, follow_symlinks=False)


def rename(path: Path, target: Path) -> None:
    """Rename a file or folder; an existing target is refused on Windows only."""
    os.rename(path, target)  # noqa: PTH104 - every call here is one of the system's


def replace(path: Path, target: Path) -> None:
    """Rename a file, and replace an existing target."""
    os.replace(path, target)  # noqa: PTH105


def unlink(path: Path) -> None:
    """Remove a name of a file."""
    os.unlink(path)  # noqa: PTH108


def make_folder(path: Path) -> None:
    """Create a folder; an existing one is refused."""
    os.mkdir(path)  # noqa: PTH102


def remove_tree(path: Path) -> None:
    """Remove a folder and everything in it, without following links."""
    shutil.rmtree(path)


def make_read_only(path: Path) -> None:
    """Remove all permissions to write a file; on Windows, set its read-only attribute."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & 0o555)  # noqa: PTH101, PTH116


def make_writable(path: Path) -> None:
    """Give the owner the permission to write a file again."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | 0o200)  # noqa: PTH101, PTH116


def set_mode(path: Path, mode: int) -> None:
    """Give a file these permissions; on Windows, its read-only attribute alone."""
    os.chmod(path, mode)  # noqa: PTH101


def set_mtime(path: Path, mtime_ns: int) -> None:
    """Give a file this modification time, in nanoseconds; it counts as read now."""
    os.utime(path, ns=(time.time_ns(), mtime_ns))


def symlink(path: Path, leads_to: Path) -> None:
    """Create a symbolic link; an existing name is refused."""
    os.symlink(leads_to, path)  # noqa: PTH211


def renew_time(path: Path) -> None:
    """Set a file's times to now."""
    os.utime(path)
