"""Garbage collection: removal of objects that no version or base needs any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import fs
from ...store import ListedObject
from ...store.event_fields import MAX_OBJECTS
from ..repository import Repository
from .references import files_of_folders

DEFAULT_GRACE_DAYS = 14.0
AT_ONCE = 100  # objects that are removed while other processes wait
OF_MANY = 1  # where other machines do not: the log is read again before each


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

    The grace time, in days, protects objects that another process has written and not yet recorded. It
    is measured by the clock of the store. Other processes may write meanwhile: the objects are chosen
    first, recorded in the event log as condemned, and removed if they are neither needed nor renewed
    by then.
    """
    objects = repository.objects
    now, grace = objects.now(), grace_days * 86400
    oldest = now - grace
    needed = _needed(repository.catalog.referenced_objects(), repository)
    unneeded = [entry for entry in objects.all() if entry.sha256 not in needed]
    doomed = [entry for entry in unneeded if entry.mtime <= oldest]
    young = len(unneeded) - len(doomed)
    leftovers = _older(objects.leftovers(), objects.time_here(now) - grace)
    if not dry_run:
        if leftovers:  # first: on a full disk they make room for the event
            with repository.catalog.writes_blocked():  # so that none is of an event being written
                for path in leftovers:
                    fs.remove_temporary(path)
        for condemned in _in_parts(doomed, MAX_OBJECTS):
            repository.catalog.condemn_objects([entry.sha256 for entry in condemned])
        at_once = OF_MANY if repository.home.has_many_clients else AT_ONCE
        doomed = [
            entry for few in _in_parts(doomed, at_once) for entry in _removed(few, repository)
        ]
    size = sum(entry.size for entry in doomed) + sum(leftovers.values())
    return Collected(len(doomed), len(leftovers), size, young, dry_run)


def _removed(condemned: Sequence[ListedObject], repository: Repository) -> list[ListedObject]:
    """Remove condemned objects, but for those that are needed or were renewed since they were listed."""
    # The log is read to its end under the write lock. A process that adds a version meanwhile waits,
    # and then sees which objects are gone.
    with repository.catalog.writes_blocked() as referenced:
        needed = _needed(referenced, repository)
        return [
            entry
            for entry in condemned
            if entry.sha256 not in needed and repository.objects.remove(entry.sha256, entry)
        ]


def _needed(referenced: set[str], repository: Repository) -> set[str]:
    return referenced | files_of_folders(repository)


def _in_parts(entries: Sequence[ListedObject], size: int) -> Iterator[Sequence[ListedObject]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _older(paths: list[Path], oldest: float) -> dict[Path, int]:
    """The sizes of the files that are old enough, without those that disappear meanwhile."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_mtime <= oldest:
                found[path] = status.st_size
    return found
