"""Durable files. Nothing else in the package creates, renames or deletes a file.

A file is written under a temporary name in its folder and synced, then renamed, and the folder is
synced: after a crash its name has either no file or the complete one. Every change of the disk is a
call of `disk`, whose functions are a line each.
"""

from __future__ import annotations

from .entries import (
    TEMPORARY_PREFIX,
    make_folder,
    move,
    remove_file,
    remove_temporary,
    rename,
    renew_time,
    replace_by_link,
    set_status,
    sync_folder,
    temporary_files,
)
from .errors import is_of_the_file, storage_error, storage_errors
from .files import (
    Bytes,
    NewFile,
    check_place,
    log_file,
    new_file,
    read_back,
    scratch_file,
    write_file,
)
from .folders import NewFolder, new_folder
from .turns import one_at_a_time

__all__ = [
    "TEMPORARY_PREFIX",
    "Bytes",
    "NewFile",
    "NewFolder",
    "check_place",
    "is_of_the_file",
    "log_file",
    "make_folder",
    "move",
    "new_file",
    "new_folder",
    "one_at_a_time",
    "read_back",
    "remove_file",
    "remove_temporary",
    "rename",
    "renew_time",
    "replace_by_link",
    "scratch_file",
    "set_status",
    "storage_error",
    "storage_errors",
    "sync_folder",
    "temporary_files",
    "write_file",
]
