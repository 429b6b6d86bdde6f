"""The exchange of versions between two open registries, for push and pull.

Objects first, then one event for many versions. A program that is killed leaves objects that nothing
names yet; the next run finds them, and goes on with what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ...progress import Meter, Progress
from ..repository import Repository
from .arrival import check_arrival
from .transfer_plan import PlannedVersion, TransferPlan
from .travelling_objects import TravellingObject, copy_across

AT_ONCE = 200  # versions that are recorded together, if they fit into one event

Change = Literal["added", "completed", "none"]


@dataclass(frozen=True)
class ExchangedVersion:
    """A version that was exchanged. `ref`: in the registry that it is from.

    `arrived`: its ref in the other one; None in a dry run for one that would be added. `change`: "none"
    if it was there with all that belongs to it. `staying`: aliases that stand for another version
    there, and were left as they are.
    """

    ref: str
    arrived: str | None
    change: Change
    staying: tuple[str, ...]


@dataclass(frozen=True)
class Exchanged:
    """The versions that `push` or `pull` looked at, and the objects and bytes that it copied.

    `bases`: the names of the bases that came with them. `dry_run`: nothing was done; the figures are
    those of what would be.
    """

    versions: tuple[ExchangedVersion, ...]
    bases: tuple[str, ...]
    objects: int
    bytes: int
    dry_run: bool

    @property
    def changed(self) -> tuple[ExchangedVersion, ...]:
        """The versions that were added or completed."""
        return tuple(version for version in self.versions if version.change != "none")


def foreseen(plan: TransferPlan) -> Exchanged:
    """The plan of `exchange`, without doing it."""
    return _exchanged(plan, {}, [base.name for base in plan.bases.values()], dry_run=True)


def exchange(
    plan: TransferPlan, source: Repository, target: Repository, progress: Progress
) -> Exchanged:
    """Copy the missing objects to `target`, and record the versions there.

    Many versions are one event. Raises `RegistryError`, `ContainerError`, `SignatureError` for what is
    damaged or not what the catalog of `source` says, and as `Catalog.receive`; what was recorded by
    then stays, and no event has a part of a version.
    """
    meter = Meter(progress, "copying", plan.bytes)
    # An object that nothing there needs yet is garbage, whose grace time must start again.
    kept = target.catalog.referenced_objects() - plan.missing.keys()
    arrived: dict[str, str] = {}
    bases = {digest: replace(base, link=None) for digest, base in plan.bases.items()}
    left = [version for version in plan.versions if not version.is_there]
    while left:
        batch = left[:AT_ONCE]
        for version in batch:
            check_arrival(version.part, source, is_new=version.known is None)
        objects = _objects_of(batch, plan)
        for one in objects:
            if one.sha256 in kept:
                continue
            if one.sha256 in plan.missing or not target.objects.renew(one.sha256):
                copy_across(one, target.objects, meter)
            kept.add(one.sha256)
        records = target.catalog.receive(
            [version.whole for version in batch],
            bases,
            confirm=partial(target.objects.require, *(one.sha256 for one in objects)),
        )
        for version, record in zip(batch, records, strict=False):
            arrived[version.whole.record.ref] = record.ref
        left = left[len(records) :]
    names = [target.catalog.base(digest).name for digest in plan.bases]
    return _exchanged(plan, arrived, names, dry_run=False)


def _objects_of(versions: list[PlannedVersion], plan: TransferPlan) -> list[TravellingObject]:
    """The objects of versions and of the bases that come with them, each once, bases first."""
    records = [version.whole.record for version in versions]
    needing = (*(one.base for one in records), *(one.ref for one in records))
    objects = {one.sha256: one for key in needing for one in plan.objects.get(key, ())}
    return list(objects.values())


def _exchanged(
    plan: TransferPlan, arrived: dict[str, str], bases: list[str], *, dry_run: bool
) -> Exchanged:
    return Exchanged(
        tuple(_told(version, arrived) for version in plan.versions),
        tuple(bases),
        len(plan.missing),
        plan.bytes,
        dry_run,
    )


def _told(version: PlannedVersion, arrived: dict[str, str]) -> ExchangedVersion:
    ref, known = version.whole.record.ref, version.known
    there = arrived.get(ref) or (None if known is None else known.ref)
    change: Change = "none" if version.is_there else "added" if known is None else "completed"
    return ExchangedVersion(ref, there, change, version.staying)
