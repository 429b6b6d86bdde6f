"""Repair of a registry: damaged files get good bytes back, or are set aside and named.

The event log comes first, because the catalog is made from it; then the catalog, which says which
objects are needed; then the objects. After an interrupt the next run continues the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...catalog import Catalog, Rebuilt, rebuild, shown_position
from ...catalog.errors import DamagedCatalogError
from ...errors import RegistryError
from ...fs import storage_errors
from ...hashing import sha256
from ...progress import Meter, Progress
from ...signing import PublicKey
from ...store import EventLog, Home, ObjectStore
from ...store.damage import Examined, Quarantine, damaged_events, examine, restore_event
from ...threads import threads
from ..repository import Repository
from .findings import Verified
from .references import ReferencedObject, referenced_objects
from .repair_sources import matching, proposals
from .verify import verify


@dataclass(frozen=True)
class Restored:
    """An object or event that has its bytes again. `origin`: the file or base that they are from."""

    sha256: str
    what: str
    origin: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Lost:
    """An object of which no good bytes were found. `subjects`: the versions and bases that need it.

    `quarantined`: the place of its damaged bytes, None if there are none or they cannot be read.
    """

    sha256: str
    what: str
    problem: str
    quarantined: str | None
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Repaired:
    """The restored objects, the lost ones, and the findings of `verify` afterwards.

    `catalog`: the counts of the rebuilt catalog, None if it was not rebuilt.
    """

    catalog: Rebuilt | None
    restored: tuple[Restored, ...]
    lost: tuple[Lost, ...]
    verified: Verified

    @property
    def is_well(self) -> bool:
        return self.verified.is_well


@dataclass(frozen=True)
class _DamagedObject:
    """An object that is damaged or missing, and the result of its examination."""

    reference: ReferencedObject
    examined: Examined


def repair(
    home: Home,
    url: str | None,
    sources: tuple[Path, ...],
    *,
    deep: bool,
    signer: PublicKey | None,
    progress: Progress,
) -> Repaired:
    """Repair a registry step by step, and verify it afterwards.

    Raises `RegistryError` if neither the catalog nor the event log can be read.
    """
    restored = restore_events(home, url, sources, progress)
    rebuilt = repair_catalog(home, url)
    with Catalog.open(home, url) as catalog:
        repository = Repository(home, catalog, ObjectStore(home))
        verified = verify(repository, None, deep=False, signer=signer, progress=progress)
        restored_objects: list[Restored] = []
        lost: list[Lost] = []
        was_well = verified.is_well
        if not was_well:
            restored_objects, lost = repair_objects(repository, sources, progress)
        if deep or not was_well:
            verified = verify(repository, None, deep=deep, signer=signer, progress=progress)
    return Repaired(rebuilt, (*restored, *restored_objects), tuple(lost), verified)


def restore_events(
    home: Home, url: str | None, sources: tuple[Path, ...], progress: Progress
) -> list[Restored]:
    """Replace damaged and missing events by good copies from `sources`. Raises `StorageError`."""
    shown = shown_position(home, url)
    restored: list[Restored] = []
    while True:
        damaged = {one.sha256: one for one in damaged_events(home, shown) if one.sha256}
        kinds = {digest: f"event {one.sequence}" for digest, one in damaged.items()}
        wanted = [ReferencedObject(digest, kind, None) for digest, kind in kinds.items()]
        found = list(matching(sources, wanted, progress)) if wanted else []
        for event, path in found:
            with storage_errors(path):
                data = path.read_bytes()
            restore_event(home, damaged[event.sha256], data)
            restored.append(Restored(event.sha256, event.kind, str(path), ()))
        if not found:  # a restored event names the one before it, which may be damaged too
            return sorted(restored, key=lambda one: int(one.what.split()[1]))


def repair_catalog(home: Home, url: str | None = None) -> Rebuilt | None:
    """Rebuild the catalog if it cannot be read, or if its rows differ from those of the event log.

    Raises `RegistryError` if damaged events prevent that; then nothing is changed.
    """
    damage = _catalog_damage(home, url)
    if damage is None:
        return None
    _check_readable(home, damage)
    # The file is rebuilt in place if possible, because another program may have it open.
    rebuilt = rebuild(home, url)
    if _catalog_damage(home, url) is not None:
        rebuilt = rebuild(home, url, set_aside=True)
    return rebuilt


def _catalog_damage(home: Home, url: str | None) -> DamagedCatalogError | None:
    """The damage of the catalog, None if it is whole; `verify` reports a damaged log."""
    try:
        with Catalog.open(home, url) as catalog:
            catalog.check_log()
    except DamagedCatalogError as error:
        return error
    except RegistryError:
        return None
    return None


def _check_readable(home: Home, catalog: DamagedCatalogError) -> None:
    """Raise `RegistryError` if the catalog cannot be rebuilt from the log, before that is tried."""
    try:
        for _ in EventLog(home).after():
            pass
    except RegistryError as error:
        raise RegistryError(
            f"{catalog}; the event log, from which it would be rebuilt, is damaged too: {error}",
            "Nothing was changed. Put the folder `events` back from a copy of the registry; damaged "
            "events are also restored by `dsvd verify --all --repair --from COPY`.",
        ) from error


def repair_objects(
    repository: Repository, sources: tuple[Path, ...], progress: Progress
) -> tuple[list[Restored], list[Lost]]:
    """Restore damaged objects from the sources, and set the others aside. Raises `StorageError`."""
    links = (base.link for base in repository.catalog.bases())
    places = (*sources, *(link for link in links if link is not None))
    whole: set[str] = set()
    restored: list[Restored] = []
    while True:
        damaged = _damaged_objects(repository, whole, progress)
        tried = {
            one.sha256 for one in restored
        }  # an object that is damaged again is not tried twice
        left = {digest: one for digest, one in damaged.items() if digest not in tried}
        found = list(_restored(left, places, repository, progress))
        if not found:
            whole_again = [one for one in restored if one.sha256 not in damaged]
            return whole_again, list(_set_aside(damaged, repository))
        restored += found  # a restored listing names further objects: examine again


def _damaged_objects(
    repository: Repository, whole: set[str], progress: Progress
) -> dict[str, _DamagedObject]:
    """The needed objects that are damaged or missing; the digests of the others go into `whole`."""
    references = [
        reference
        for reference in referenced_objects(repository).values()
        if reference.sha256 not in whole
    ]
    meter = Meter(progress, "examining", sum(reference.size or 0 for reference in references))
    damaged = {}
    with threads() as pool:
        digests = (reference.sha256 for reference in references)
        results = pool.map(partial(examine, repository.home), digests)
        for reference, examined in zip(references, results, strict=True):
            if examined.problem is None:
                whole.add(reference.sha256)
            else:
                damaged[reference.sha256] = _DamagedObject(reference, examined)
            meter.advance(reference.size or 0)
    return damaged


def _restored(
    damaged: dict[str, _DamagedObject],
    places: tuple[Path, ...],
    repository: Repository,
    progress: Progress,
) -> Iterator[Restored]:
    left = {digest: one.reference for digest, one in damaged.items()}
    if not left:
        return

    def done(reference: ReferencedObject, origin: str) -> Restored:
        del left[reference.sha256]
        return Restored(reference.sha256, reference.kind, origin, reference.subjects)

    quarantine = Quarantine(repository.home)
    for reference in tuple(left.values()):
        place = quarantine.whole(reference.sha256)
        if place is not None and _clear_path(damaged[reference.sha256], repository):
            quarantine.put_back(place, repository.objects)
            yield done(reference, place)
    for reference, path in matching(places, tuple(left.values()), progress):
        if _clear_path(damaged[reference.sha256], repository):
            meter = Meter(progress, "copying", path.stat().st_size)
            if repository.objects.put_file(path, meter.advance).sha256 == reference.sha256:
                yield done(reference, str(path))
    for proposal in proposals(places, left, repository):
        found = left.get(sha256(proposal.data))
        if found is not None and _clear_path(damaged[found.sha256], repository):
            repository.objects.put(proposal.data)
            yield done(found, proposal.origin)


def _clear_path(damaged: _DamagedObject, repository: Repository) -> bool:
    """Set aside a link or folder at the object's path; gives whether the object can be written."""
    if damaged.examined.in_the_way:
        with repository.catalog.writes_blocked():
            Quarantine(repository.home).set_aside(damaged.examined)
    try:
        repository.objects.contains(damaged.reference.sha256)
    except RegistryError:  # its shard is a link, which `verify` reports
        return False
    return True


def _set_aside(damaged: dict[str, _DamagedObject], repository: Repository) -> Iterator[Lost]:
    if not damaged:
        return
    quarantine = Quarantine(repository.home)
    # A process that adds a version meanwhile waits, and then sees that the object is gone.
    with repository.catalog.writes_blocked():
        for digest, one in damaged.items():
            moved = quarantine.set_aside(one.examined)
            if moved is None and one.examined.damaged is not None:
                continue  # another program has repaired it
            place = moved or quarantine.last(digest)
            problem = one.examined.problem or ""
            yield Lost(digest, one.reference.kind, problem, place, one.reference.subjects)
