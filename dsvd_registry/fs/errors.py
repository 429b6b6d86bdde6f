"""Errors of the operating system, translated into `StorageError` and `Conflict`."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from ..errors import Conflict, StorageError

_HINTS = {
    errno.ENOSPC: "Free some space there and run the same command again.",
    errno.EDQUOT: "Free some space in your quota and run the same command again.",
    errno.EACCES: "Check the permissions of the folder, or give another path.",
    errno.EPERM: "Check the permissions of the folder, or give another path.",
    errno.EROFS: "The filesystem is read-only: give another path.",
    errno.ENOENT: "Check that the path is right.",
}
_OTHER_HINT = "Check the disk and its messages."
# A file that is gone, or that its disk or filesystem does not give back. Not every system knows each.
_OF_THE_FILE = {
    getattr(errno, name, errno.EIO)
    for name in ("EIO", "ENODATA", "EUCLEAN", "EBADMSG", "ENOENT", "ENOTDIR", "ESTALE")
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `StorageError` (or `Conflict`) that names `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: Path) -> StorageError | Conflict:
    """The error that names `path`, for an `OSError` in what is called for each chunk of a file."""
    if isinstance(error, FileExistsError):
        return Conflict(
            f"{path} exists already", "Give another path, or use --force to replace it."
        )
    hint = _HINTS.get(error.errno or 0, _OTHER_HINT)
    return StorageError(f"{path}: {error.strerror or error}", hint)


def is_of_the_file(error: StorageError | OSError) -> bool:
    """True if a reading failed because of the file: it is damaged, cut or gone.

    False if the machine refused, as one without room, memory or permission does: nothing is then known
    of the file.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause is None or (isinstance(cause, OSError) and cause.errno in _OF_THE_FILE)
