"""Turns of several processes: one works, the others wait, and one that is killed ends its turn."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from . import disk, entries
from .errors import storage_errors

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process or thread is in a block for this path. Raises `StorageError`.

    The path is that of a file which exists meanwhile, on a disk here, in an existing folder. On
    Windows nobody waits.
    """
    if sys.platform == "win32":
        yield
        return
    with storage_errors(path):
        descriptor = _locked(path)
    try:
        yield
    finally:
        # While it is locked: who waits for this file sees that, and takes another.
        entries.discard(path)
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = disk.open_lock(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
