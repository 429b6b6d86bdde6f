"""The few calls that change a disk. All of `fs` goes through them, and nothing else writes.

They are looked up here at each call (`disk.link(...)`): tests put others in their place, which record
them, refuse them, or behave as another system does.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

WINDOWS = os.name == "nt"
# On macOS `fsync` leaves the bytes in the drive's own cache; this call empties that.
FULL_SYNC: int | None = None if sys.platform == "win32" else getattr(fcntl, "F_FULLFSYNC", None)
_UNKNOWN_TO_THE_FILESYSTEM = (errno.ENOTSUP, errno.ENOTTY, errno.EINVAL)


def create(path: Path, *, readable: bool = False) -> BinaryIO:
    """A new file, written through what this gives; an existing one is refused."""
    return path.open("x+b" if readable else "xb")


def write_at(descriptor: int, data: memoryview, position: int) -> int:
    """How many bytes of `data` were written at `position`. Not on Windows."""
    return os.pwrite(descriptor, data, position)


def sync(descriptor: int) -> None:
    """Make the content of an open file durable, or the names in an open folder."""
    if FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, FULL_SYNC)
        except OSError as error:
            # Any other error is of the disk: asked again, `fsync` might say that all is well.
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
    """Give a file, not what it links to, a second name; an existing one is refused."""
    os.link(path, target, follow_symlinks=False)


def rename(path: Path, target: Path) -> None:
    """Give a file or folder another name; one that is there is refused on Windows only."""
    os.rename(path, target)  # noqa: PTH104 - Path.rename is for people


def replace(path: Path, target: Path) -> None:
    """Give a file another name, and take the name from whatever file has it."""
    os.replace(path, target)  # noqa: PTH105


def unlink(path: Path) -> None:
    """Take a name from a file."""
    os.unlink(path)  # noqa: PTH108


def make_folder(path: Path) -> None:
    """A new folder; an existing one is refused."""
    os.mkdir(path)  # noqa: PTH102


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, without following links."""
    shutil.rmtree(path)


def make_read_only(path: Path) -> None:
    """Take all permissions to write a file, or on Windows its attribute."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & 0o555)  # noqa: PTH101, PTH116


def make_writable(path: Path) -> None:
    """Let the owner write a file again."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | 0o200)  # noqa: PTH101, PTH116


def renew_time(path: Path) -> None:
    """Set a file's times to now."""
    os.utime(path)
