"""The bytes of the store, by model and by base."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ...catalog import VersionRecord
from ...store.damage import Quarantine
from ..repository import Repository
from .references import files_of_folders


@dataclass(frozen=True)
class ModelUsage:
    """Bytes of a model's containers, residuals and originals.

    `shared_bytes`: the part that other models use too. `source_bytes`: those of all sources.
    """

    name: str
    versions: int
    bytes: int
    shared_bytes: int
    source_bytes: int


@dataclass(frozen=True)
class BaseUsage:
    """Bytes of a base in the store (0 if it is linked), and of its file or folder."""

    name: str
    bytes: int
    file_bytes: int
    linked: bool


@dataclass(frozen=True)
class Usage:
    """Bytes of the whole store, in `total`. `reclaimable`: those of unneeded objects of any age.

    `quarantined`: those of damaged objects that a repair set aside, which `gc` does not remove; they
    are not part of `total`.
    """

    models: tuple[ModelUsage, ...]
    bases: tuple[BaseUsage, ...]
    total: int
    reclaimable: int
    quarantined: int


def usage(repository: Repository) -> Usage:
    """Count the bytes by model and by base, the shared and the reclaimable ones."""
    by_model: dict[str, list[VersionRecord]] = defaultdict(list)
    users: dict[str, set[str]] = defaultdict(set)
    for version in repository.catalog.versions():
        by_model[version.model].append(version)
        for sha256 in version.objects:
            users[sha256].add(version.model)
    models = []
    for name, versions in sorted(by_model.items()):
        sizes = {sha256: size for version in versions for sha256, size in version.objects.items()}
        shared = sum(size for sha256, size in sizes.items() if len(users[sha256]) > 1)
        source = sum(version.source.size for version in versions)
        models.append(ModelUsage(name, len(versions), sum(sizes.values()), shared, source))
    bases = tuple(
        BaseUsage(base.name, 0 if base.link else base.size, base.size, base.link is not None)
        for base in repository.catalog.bases()
    )
    needed = repository.catalog.referenced_objects() | files_of_folders(repository)
    listed = list(repository.objects.all())
    return Usage(
        models=tuple(models),
        bases=bases,
        total=sum(entry.size for entry in listed),
        reclaimable=sum(entry.size for entry in listed if entry.sha256 not in needed),
        quarantined=Quarantine(repository.home).size(),
    )
