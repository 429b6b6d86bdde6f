"""Durable files. Nothing else in the package creates, renames or deletes a file.

A file is written under a temporary name in the folder where it will live, synced, renamed, and
the folder synced: after a crash a name holds either nothing or the whole file. What is done to the
disk passes `disk`, a few calls of one line.
"""

from __future__ import annotations

from .errors import storage_errors
from .files import Bytes, NewFile, check_place, new_file, read_back, scratch_file, write_file
from .folders import NewFolder, new_folder
from .names import (
    TEMPORARY_PREFIX,
    make_folder,
    move,
    remove_file,
    remove_temporary,
    rename,
    renew_time,
    sync_folder,
    temporary_files,
)

__all__ = [
    "TEMPORARY_PREFIX",
    "Bytes",
    "NewFile",
    "NewFolder",
    "check_place",
    "make_folder",
    "move",
    "new_file",
    "new_folder",
    "read_back",
    "remove_file",
    "remove_temporary",
    "rename",
    "renew_time",
    "scratch_file",
    "storage_errors",
    "sync_folder",
    "temporary_files",
    "write_file",
]
