"""The clone of a registry: its whole log, number by number, and every object that it needs.

Objects are copied first, then the events, and `registry.json` comes last: what a killed clone leaves is
no registry yet, and the same command goes on with it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from ... import fs
from ...catalog import check_database
from ...errors import Conflict, InvalidArgument, RegistryError
from ...progress import Meter, Progress
from ...store import EventLog, ObjectStore, Position, RegistryFolder, bucket_url, registry_folder
from ..repository import Repository, opened
from ..upkeep.references import referenced_objects
from .remotes import ORIGIN, add_remote, checked_url, opened_remote, remotes
from .travelling_objects import (
    TravellingObject,
    copy_across,
    objects_of_added_base,
    stored_object,
)


def clone(url: str, path: str | Path, catalog: str | None, progress: Progress) -> Repository:
    """Make a registry in the folder `path` with the history of the one at `url`, and open it.

    `catalog`: the URL of its catalog; None for one in the folder. A base that is linked there is
    copied. Raises `Conflict` if `path` is a registry or has other files in it, `InvalidArgument` for a
    URL that cannot be used, `NotFound` if there is no registry at `url`, `RegistryError` for damage
    there, `StorageError`.
    """
    if bucket_url.is_url(str(path)):
        raise InvalidArgument(
            f"a clone is made in a folder of this machine, and not at {path}",
            "Make a registry there with `dsvd init`, and push to it.",
        )
    url, place = checked_url(url), Path(path)
    check_database(RegistryFolder(place).catalog, catalog)
    with opened_remote(url) as remote:
        folder = _begun(place, url)
        last, objects = _objects(remote, progress)
        store = ObjectStore(folder)
        missing = [one for one in objects if not store.contains(one.sha256)]
        meter = Meter(progress, "copying", sum(one.size for one in missing))
        for one in missing:
            copy_across(one, store, meter)
        _copy_log(remote, folder, last)
    repository = opened(folder, catalog)
    try:
        _keep_bases(repository)
        registry_folder.describe(folder)
    except BaseException:
        repository.catalog.close()
        raise
    return repository


def _begun(place: Path, url: str) -> RegistryFolder:
    """The folder of the new registry, or of one whose clone of the same registry was stopped."""
    place = Path(os.path.abspath(place))  # noqa: PTH100 - also folds `..`, follows no link
    folder = RegistryFolder(place)
    with fs.storage_errors(folder.root):
        is_one = folder.description.exists()
    if not is_one and any(one.name == ORIGIN and one.url == url for one in remotes(folder)):
        return folder
    folder = registry_folder.begin(place)
    add_remote(folder, ORIGIN, url)
    return folder


def _objects(remote: Repository, progress: Progress) -> tuple[Position, list[TravellingObject]]:
    """The objects that a registry needs, and the event that they are needed at."""
    while True:
        last = remote.catalog.last_event()
        found = {
            one.sha256: stored_object(one, f"the {one.kind} of {one.subjects[0]}", remote)
            for one in referenced_objects(remote).values()
        }
        for base in remote.catalog.bases():
            if base.link is not None:
                for one in objects_of_added_base(base, remote, progress):
                    found[one.sha256] = one
        if remote.catalog.last_event() == last:  # nobody has written meanwhile
            return last, list(found.values())


def _copy_log(remote: Repository, folder: RegistryFolder, last: Position) -> None:
    log = EventLog(folder)
    for position, event in EventLog(remote.home).after():
        if position.sequence > last.sequence:
            break
        try:
            copied = log.write(event)
        except RegistryError as error:
            raise Conflict(
                f"{folder.name} has a clone that was stopped, and {remote.home.name} has changed since",
                f"Remove {folder.name}, then clone it again.",
            ) from error
        assert copied == position


def _keep_bases(repository: Repository) -> None:
    """Make the copies of linked bases the bases of this registry."""
    for base in repository.catalog.bases():
        if base.link is not None:
            own = replace(base, link=None)
            repository.catalog.add_base(
                own.name,
                digest=own.digest,
                manifest=own.manifest,
                file=own.file,
                size=own.size,
                format=own.format,
                replace=True,
                confirm=partial(repository.objects.require, own.file),
            )
