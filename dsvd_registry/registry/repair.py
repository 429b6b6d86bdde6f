"""Putting damage right: good bytes where they can be had, the rest set aside and named.

First the event log, of which the catalog is made; then the catalog, which says what is needed; then
the objects. Each step leaves what the next run goes on from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..catalog import Catalog, Rebuilt, rebuild
from ..catalog.errors import DamagedCatalogError
from ..errors import RegistryError
from ..fs import storage_errors
from ..hashing import sha256
from ..progress import Meter, Progress
from ..signing import PublicKey
from ..store import EventLog, ObjectStore, RegistryFolder
from ..store.damaged_events import damaged_events, restore_event
from ..store.quarantine import Examined, Quarantine, examine
from ..threads import threads
from .findings import Verified
from .references import Need, needs
from .repair_sources import matching, proposals
from .repository import Repository
from .verify import verify


@dataclass(frozen=True)
class Restored:
    """An object or event that has its bytes again. `origin`: where they are from."""

    sha256: str
    what: str
    origin: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Lost:
    """An object of which no good bytes were found. `subjects`: the versions and bases that it hits.

    `quarantined`: where its damaged bytes lie, None where there are none or they cannot be read.
    """

    sha256: str
    what: str
    problem: str
    quarantined: Path | None
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Repaired:
    """What was put right, what could not be, and what `verify` finds after that.

    `catalog`: what it was made anew of, None where there was no need.
    """

    catalog: Rebuilt | None
    restored: tuple[Restored, ...]
    lost: tuple[Lost, ...]
    verified: Verified

    @property
    def is_well(self) -> bool:
        return self.verified.is_well


@dataclass(frozen=True)
class _Bad:
    need: Need
    found: Examined


def repair(
    folder: RegistryFolder,
    url: str | None,
    sources: tuple[Path, ...],
    *,
    deep: bool,
    signer: PublicKey | None,
    progress: Progress,
) -> Repaired:
    """Put the damage of a registry right, step by step, and look for what remains.

    Raises `RegistryError` where neither the catalog nor the event log can be read.
    """
    restored = restore_events(folder, sources, progress)
    rebuilt = repair_catalog(folder, url)
    with Catalog.open(folder, url) as catalog:
        repository = Repository(folder, catalog, ObjectStore(folder))
        found = verify(repository, None, deep=False, signer=signer, progress=progress)
        of_objects: list[Restored] = []
        lost: list[Lost] = []
        was_well = found.is_well
        if not was_well:
            of_objects, lost = repair_objects(repository, sources, progress)
        if deep or not was_well:
            found = verify(repository, None, deep=deep, signer=signer, progress=progress)
    return Repaired(rebuilt, (*restored, *of_objects), tuple(lost), found)


def restore_events(
    folder: RegistryFolder, sources: tuple[Path, ...], progress: Progress
) -> list[Restored]:
    """Put good bytes in the place of damaged events. None is ever made up. Raises `StorageError`."""
    damaged = damaged_events(folder)
    wanted = [Need(digest, f"event {int(path.name[:9])}", None) for digest, path in damaged.items()]
    restored = []
    for need, path in matching(sources, wanted, progress):
        with storage_errors(path):
            data = path.read_bytes()
        restore_event(folder, damaged[need.sha256], need.sha256, data)
        restored.append(Restored(need.sha256, need.what, str(path), ()))
    return restored


def repair_catalog(folder: RegistryFolder, url: str | None = None) -> Rebuilt | None:
    """Make the catalog anew if it cannot be read, or has other rows than the event log makes.

    Raises `RegistryError` where that would need events that are damaged; then nothing is touched.
    """
    damage = _damage(folder, url)
    if damage is None:
        return None
    _check_readable(folder, damage)
    # In its place where that does: another program may have it open.
    rebuilt = rebuild(folder, url)
    if _damage(folder, url) is not None:
        rebuilt = rebuild(folder, url, set_aside=True)
    return rebuilt


def _damage(folder: RegistryFolder, url: str | None) -> DamagedCatalogError | None:
    """What is wrong with the catalog; of a damaged log, `verify` tells."""
    try:
        with Catalog.open(folder, url) as catalog:
            catalog.check_log()
    except DamagedCatalogError as error:
        return error
    except RegistryError:
        return None
    return None


def _check_readable(folder: RegistryFolder, catalog: DamagedCatalogError) -> None:
    """Raises `RegistryError` unless the catalog can be made of the log, before that is tried."""
    try:
        for _ in EventLog(folder).after(0):
            pass
    except RegistryError as error:
        raise RegistryError(
            f"{catalog}; and so is the event log, of which it would be made: {error}",
            "Nothing was changed. Put the folder `events` back from a copy of the registry; damaged "
            "events are also found with `dsvd verify --all --repair --from COPY`.",
        ) from error


def repair_objects(
    repository: Repository, sources: tuple[Path, ...], progress: Progress
) -> tuple[list[Restored], list[Lost]]:
    """Restore what can be, set aside what cannot. Raises `StorageError`."""
    links = (base.link for base in repository.catalog.bases())
    places = (
        *sources,
        *(link for link in links if link is not None),
        Quarantine(repository.objects).folder,
    )
    whole: set[str] = set()
    restored: list[Restored] = []
    while True:
        bad = _bad(repository, whole, progress)
        once = {one.sha256 for one in restored}  # what does not stay whole is not tried for ever
        left = {digest: one for digest, one in bad.items() if digest not in once}
        found = list(_restored(left, places, repository, progress))
        if not found:
            whole_again = [one for one in restored if one.sha256 not in bad]
            return whole_again, list(_set_aside(bad, repository))
        restored += found  # with a listing it is known of which files its base is made


def _bad(repository: Repository, whole: set[str], progress: Progress) -> dict[str, _Bad]:
    """The needed objects that are damaged or missing; the others are added to `whole`."""
    needed = [need for need in needs(repository).values() if need.sha256 not in whole]
    meter = Meter(progress, "examining", sum(need.size or 0 for need in needed))
    bad = {}
    with threads() as pool:
        for need, found in zip(
            needed,
            pool.map(partial(examine, repository.objects), (need.sha256 for need in needed)),
            strict=True,
        ):
            if found.problem is None:
                whole.add(need.sha256)
            else:
                bad[need.sha256] = _Bad(need, found)
            meter.advance(need.size or 0)
    return bad


def _restored(
    bad: dict[str, _Bad],
    places: tuple[Path, ...],
    repository: Repository,
    progress: Progress,
) -> Iterator[Restored]:
    left = {digest: one.need for digest, one in bad.items()}
    if not left:
        return

    def done(need: Need, origin: str) -> Restored:
        del left[need.sha256]
        return Restored(need.sha256, need.what, origin, need.subjects)

    for need, path in matching(places, tuple(left.values()), progress):
        if _has_room(bad[need.sha256], repository):
            meter = Meter(progress, "copying", path.stat().st_size)
            if repository.objects.put_file(path, meter.advance).sha256 == need.sha256:
                yield done(need, str(path))
    for proposal in proposals(places, left, repository):
        found = left.get(sha256(proposal.data))
        if found is not None and _has_room(bad[found.sha256], repository):
            repository.objects.put(proposal.data)
            yield done(found, proposal.origin)


def _has_room(bad: _Bad, repository: Repository) -> bool:
    """Whether the object can be put in its place: a link or a folder there is moved away."""
    if bad.found.in_the_way:
        with repository.catalog.undisturbed():
            Quarantine(repository.objects).set_aside(bad.found)
    try:
        repository.objects.contains(bad.need.sha256)
    except RegistryError:  # its folder is a link: `verify` says so
        return False
    return True


def _set_aside(bad: dict[str, _Bad], repository: Repository) -> Iterator[Lost]:
    if not bad:
        return
    quarantine = Quarantine(repository.objects)
    # Who adds meanwhile waits, and then sees that the object is gone.
    with repository.catalog.undisturbed():
        for digest, one in bad.items():
            moved = quarantine.set_aside(one.found)
            if moved is None and one.found.damaged is not None:
                continue  # another program has put it right
            place = moved or quarantine.last(digest)
            problem = one.found.problem or ""
            yield Lost(digest, one.need.what, problem, place, one.need.subjects)
