"""What the store holds, whose it is, and giving back what nothing needs."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .. import fs
from ..catalog import Catalog, VersionRecord
from ..store import ObjectStore
from ..store.quarantine import Quarantine

DEFAULT_GRACE_DAYS = 14.0


@dataclass(frozen=True)
class ModelUsage:
    """Bytes of a model's containers and residuals; `shared_bytes` of them are other models' too."""

    name: str
    versions: int
    bytes: int
    shared_bytes: int
    source_bytes: int


@dataclass(frozen=True)
class BaseUsage:
    """Bytes of a base in the store (0 if it is linked), and of its file."""

    name: str
    bytes: int
    file_bytes: int
    linked: bool


@dataclass(frozen=True)
class Usage:
    """All bytes of the store. `reclaimable`: of objects that nothing needs, whatever their age.

    `quarantined`: of damaged objects that `repair` set aside, which `gc` leaves alone; not in `total`.
    """

    models: tuple[ModelUsage, ...]
    bases: tuple[BaseUsage, ...]
    total: int
    reclaimable: int
    quarantined: int


@dataclass(frozen=True)
class Collected:
    """What `gc` removed, or would remove."""

    objects: int
    temporary_files: int
    bytes: int
    kept_young: int
    dry_run: bool


def usage(catalog: Catalog, objects: ObjectStore) -> Usage:
    """Bytes by model and by base, shared and reclaimable."""
    of_model: dict[str, list[VersionRecord]] = defaultdict(list)
    users: dict[str, set[str]] = defaultdict(set)
    for version in catalog.versions():
        of_model[version.model].append(version)
        for sha256 in version.objects:
            users[sha256].add(version.model)
    models = []
    for name, own in sorted(of_model.items()):
        sizes = {sha256: size for version in own for sha256, size in version.objects.items()}
        shared = sum(size for sha256, size in sizes.items() if len(users[sha256]) > 1)
        source = sum(version.source.size for version in own)
        models.append(ModelUsage(name, len(own), sum(sizes.values()), shared, source))
    bases = tuple(
        BaseUsage(base.name, 0 if base.link else base.size, base.size, base.link is not None)
        for base in catalog.bases()
    )
    needed = catalog.referenced_objects() | _in_folders(catalog, objects)
    listed = list(objects.all())
    return Usage(
        models=tuple(models),
        bases=bases,
        total=sum(entry.size for entry in listed),
        reclaimable=sum(entry.size for entry in listed if entry.sha256 not in needed),
        quarantined=Quarantine(objects).size(),
    )


def collect(
    catalog: Catalog, objects: ObjectStore, *, grace_days: float, dry_run: bool
) -> Collected:
    """Remove objects that no version or base needs, and temporary files, older than the grace time.

    The grace time protects what another process has written and not yet named in the catalog.
    """
    oldest = time.time() - grace_days * 86400
    # Who adds meanwhile waits, and then sees what was removed.
    with catalog.undisturbed() as referenced:
        needed = referenced | _in_folders(catalog, objects)
        unneeded = [entry for entry in objects.all() if entry.sha256 not in needed]
        doomed = [entry for entry in unneeded if entry.mtime <= oldest]
        leftovers = _older(objects.leftovers(), oldest)
        size = sum(entry.size for entry in doomed) + sum(leftovers.values())
        if not dry_run:
            for entry in doomed:
                objects.remove(entry.sha256)
            for path in leftovers:
                fs.remove_temporary(path)
    return Collected(len(doomed), len(leftovers), size, len(unneeded) - len(doomed), dry_run)


def _in_folders(catalog: Catalog, objects: ObjectStore) -> set[str]:
    """The files of bases that are folders. Raises `RegistryError` where a listing is damaged."""
    folders = [base for base in catalog.bases() if base.is_folder and base.link is None]
    if not folders:
        return set()
    from .repository import stored_listing  # imports numpy, which listing sizes need not wait for

    return {file.sha256 for base in folders for file in stored_listing(base, objects)}


def _older(paths: list[Path], oldest: float) -> dict[Path, int]:
    """The sizes of the files that are old enough, less those that go away meanwhile."""
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_mtime <= oldest:
                found[path] = status.st_size
    return found
