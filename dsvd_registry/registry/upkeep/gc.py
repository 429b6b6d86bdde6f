"""Garbage collection: removal of objects that no version or base needs any more."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from ... import fs
from ..repository import Repository
from .references import files_of_folders

DEFAULT_GRACE_DAYS = 14.0


@dataclass(frozen=True)
class Collected:
    """The objects, temporary files and bytes that `gc` removed, or would remove in a dry run.

    `kept_young`: the number of unneeded objects that are younger than the grace time.
    """

    objects: int
    temporary_files: int
    bytes: int
    kept_young: int
    dry_run: bool


def collect_garbage(repository: Repository, *, grace_days: float, dry_run: bool) -> Collected:
    """Remove objects that no version or base needs, and temporary files, older than the grace time.

    The grace time, in days, protects objects that another process has written and not yet recorded.
    """
    oldest = time.time() - grace_days * 86400
    # A process that adds a version meanwhile waits, and then sees which objects were removed.
    with repository.catalog.writes_blocked() as referenced:
        needed = referenced | files_of_folders(repository)
        unneeded = [entry for entry in repository.objects.all() if entry.sha256 not in needed]
        doomed = [entry for entry in unneeded if entry.mtime <= oldest]
        leftovers = _older(repository.objects.leftovers(), oldest)
        size = sum(entry.size for entry in doomed) + sum(leftovers.values())
        if not dry_run:
            for entry in doomed:
                repository.objects.remove(entry.sha256)
            for path in leftovers:
                fs.remove_temporary(path)
    return Collected(len(doomed), len(leftovers), size, len(unneeded) - len(doomed), dry_run)


def _older(paths: list[Path], oldest: float) -> dict[Path, int]:
    """The sizes of the files that are old enough, without those that disappear meanwhile."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_mtime <= oldest:
                found[path] = status.st_size
    return found
