"""Garbage collection: removing objects that nothing needs any more."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from .. import fs
from .references import files_of_folders
from .repository import Repository

DEFAULT_GRACE_DAYS = 14.0


@dataclass(frozen=True)
class Collected:
    """What `gc` removed, or would remove."""

    objects: int
    temporary_files: int
    bytes: int
    kept_young: int
    dry_run: bool


def collect_garbage(repository: Repository, *, grace_days: float, dry_run: bool) -> Collected:
    """Remove objects that no version or base needs, and temporary files, older than the grace time.

    The grace time protects what another process has written and not yet named in the catalog.
    """
    oldest = time.time() - grace_days * 86400
    # Who adds meanwhile waits, and then sees what was removed.
    with repository.catalog.undisturbed() as referenced:
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
    """The sizes of the files that are old enough, less those that go away meanwhile."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_mtime <= oldest:
                found[path] = status.st_size
    return found
