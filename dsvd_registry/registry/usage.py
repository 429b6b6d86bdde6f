"""The bytes that the store holds, and whose they are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ..catalog import VersionRecord
from ..store.quarantine import Quarantine
from .references import files_of_folders
from .repository import Repository


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


def usage(repository: Repository) -> Usage:
    """Bytes by model and by base, shared and reclaimable."""
    of_model: dict[str, list[VersionRecord]] = defaultdict(list)
    users: dict[str, set[str]] = defaultdict(set)
    for version in repository.catalog.versions():
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
        for base in repository.catalog.bases()
    )
    needed = repository.catalog.referenced_objects() | files_of_folders(repository)
    listed = list(repository.objects.all())
    return Usage(
        models=tuple(models),
        bases=bases,
        total=sum(entry.size for entry in listed),
        reclaimable=sum(entry.size for entry in listed if entry.sha256 not in needed),
        quarantined=Quarantine(repository.objects).size(),
    )
