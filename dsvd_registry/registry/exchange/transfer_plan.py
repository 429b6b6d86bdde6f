"""A plan of what another registry lacks of this one's: versions or parts of them, bases, objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ...catalog import BaseRecord, VersionRecord, WholeVersion
from ...catalog.whole_versions import lacking
from ...errors import Conflict, InvalidArgument
from ...progress import Progress
from ...store.names import folded
from ...threads import threads
from ..repository import Repository
from .travelling_objects import TravellingObject, objects_of, objects_of_added_base


@dataclass(frozen=True)
class PlannedVersion:
    """A version, and the part of it that the other registry lacks.

    `known`: the version there that has its container; None for a new one. `aliases`: those that it gets
    there. `staying`: those that stand for another version there.
    """

    whole: WholeVersion
    part: WholeVersion
    known: VersionRecord | None
    aliases: tuple[str, ...]
    staying: tuple[str, ...]

    @property
    def is_there(self) -> bool:
        """True if the other registry lacks nothing of it."""
        return self.known is not None and self.part.is_empty and not self.aliases


@dataclass(frozen=True)
class TransferPlan:
    """Versions to take from one registry to another, with all that the other lacks for them.

    `bases`: by digest, as the other will have them. `objects`: all that the versions and bases need
    there, by SHA-256, for each ref or digest that needs them. `missing`: the SHA-256 of those that are
    not there.
    """

    versions: tuple[PlannedVersion, ...]
    bases: Mapping[str, BaseRecord]
    objects: Mapping[str, tuple[TravellingObject, ...]]
    missing: Mapping[str, TravellingObject]

    @property
    def bytes(self) -> int:
        """The size of the missing objects."""
        return sum(moved.size for moved in self.missing.values())


def planned(
    source: Repository, target: Repository, refs: Iterable[str] | None, progress: Progress
) -> TransferPlan:
    """Compare the versions `refs` of `source`, or all of its versions for None, with those of `target`.

    Raises `NotFound` for a ref, `Conflict` for a model's name that differs from one there in case alone,
    `InvalidArgument` for a registry and itself, `RegistryError` for a missing object, `BaseMismatch` if
    the file of a linked base is gone.
    """
    if source.home.root.resolve() == target.home.root.resolve():
        raise InvalidArgument(
            f"{source.home.name} is this registry itself", "Name another one as the remote."
        )
    wanted = _wanted(source, refs)
    models = dict.fromkeys(whole.record.model for whole in wanted)
    _check_models(models, target)
    there = target.catalog.whole_versions(None if refs is None else models)
    versions = tuple(_compared(wanted, there))
    bases = _lacking_bases(versions, source, target)
    objects = {
        base.digest: tuple(objects_of_added_base(base, source, progress)) for base in bases
    } | {
        version.whole.record.ref: tuple(_objects_of_part(version, source))
        for version in versions
        if not version.is_there
    }
    needed = {one.sha256: one for of_one in objects.values() for one in of_one}
    with threads() as pool:
        found = dict(zip(needed, pool.map(target.objects.contains, needed), strict=True))
    missing = {sha256: one for sha256, one in needed.items() if not found[sha256]}
    return TransferPlan(versions, {base.digest: base for base in bases}, objects, missing)


def _wanted(source: Repository, refs: Iterable[str] | None) -> list[WholeVersion]:
    if refs is None:
        return source.catalog.whole_versions()
    named = {version.ref: version.model for version in map(source.catalog.version, refs)}
    whole = source.catalog.whole_versions(dict.fromkeys(named.values()))
    return [one for one in whole if one.record.ref in named]


def _check_models(models: Iterable[str], target: Repository) -> None:
    """The catalog checks the names again."""
    names = {folded(model.name): model.name for model in target.catalog.models()}
    for model in models:
        twin = names.get(folded(model), model)
        if twin != model:
            raise Conflict(
                f"the model name {model} differs in case alone from {twin} in {target.home.name}",
                "Export the version, and import it under another name.",
            )


def _compared(
    wanted: Iterable[WholeVersion], there: Iterable[WholeVersion]
) -> Iterator[PlannedVersion]:
    """Each version beside the newest one there of its model that has its container."""
    known = {(one.record.model, one.record.container): one for one in there}
    aliases = {
        (one.record.model, folded(alias)): one.record.container
        for one in known.values()
        for alias in one.aliases
    }
    for whole in wanted:
        record = whole.record
        has = known.get((record.model, record.container))
        of = {alias: aliases.get((record.model, folded(alias))) for alias in whole.aliases}
        yield PlannedVersion(
            whole,
            lacking(whole, has),
            None if has is None else has.record,
            tuple(alias for alias, container in of.items() if container is None),
            tuple(a for a, container in of.items() if container not in (None, record.container)),
        )


def _lacking_bases(
    versions: Iterable[PlannedVersion], source: Repository, target: Repository
) -> list[BaseRecord]:
    """The bases that new versions need and `target` lacks."""
    there = {base.digest for base in target.catalog.bases()}
    needed = {one.whole.record.base: one.whole.record for one in versions if one.known is None}
    return [source.base_of(record) for digest, record in needed.items() if digest not in there]


def _objects_of_part(version: PlannedVersion, source: Repository) -> Iterator[TravellingObject]:
    for one in objects_of(version.part, source):
        if version.known is None or one.sha256 != version.known.container:
            yield one
