"""The commit of prepared additions: many of them become one event, each whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...catalog import AttachmentRecord, NewVersion, PreparedVersion, RecordedVersion, VersionRecord
from ...container.records import Omission
from ...errors import DsvdError
from ..describing.beside import NotTaken
from ..describing.taken_in import NOTHING, TakenIn
from ..repository import Repository


@dataclass(frozen=True)
class Addition:
    """The result of `add`.

    `created`: False if the version existed already. `upgraded`: the version existed, was lossy, and
    is lossless now. `left_out`: what was left out of the
    path that was given, also where an earlier container of the same source is shared. `taken_in`: the
    metadata and attachments that were found in the file and beside it.
    """

    version: VersionRecord
    created: bool
    upgraded: bool = False
    left_out: tuple[Omission, ...] = ()
    taken_in: TakenIn = NOTHING

    @property
    def ref(self) -> str:
        return self.version.ref


@dataclass(frozen=True)
class PreparedAddition:
    """An addition whose objects are in the store; only its event is missing.

    It names no open file, so that another process, on another machine, may have made it. `known`: the
    version that was recognised; None for a new one. `upgraded`, `left_out`: as in `Addition`.
    `found_attachments`: the names of those attachments that nobody asked for. `not_taken`: what was
    found too, and the reason why it is left out. `listings`: those of the files that the new objects
    give, for the catalog's cache.
    """

    version: PreparedVersion
    known: VersionRecord | None = None
    upgraded: bool = False
    left_out: tuple[Omission, ...] = ()
    found_attachments: frozenset[str] = frozenset()
    not_taken: tuple[NotTaken, ...] = ()
    listings: Mapping[tuple[str, str], str] | None = None

    @property
    def container(self) -> str:
        """The SHA-256 of the version's container."""
        new = self.version.version
        if isinstance(new, NewVersion):
            return new.container
        assert self.known is not None  # a version that is not new was recognised
        return self.known.container

    @property
    def has_residual(self) -> bool:
        """True if the version has a residual after the commit."""
        had = self.known is not None and self.known.residual is not None
        return had or self.version.residual is not None

    @property
    def has_original(self) -> bool:
        """True if the version has its original after the commit."""
        had = self.known is not None and self.known.original is not None
        return had or self.version.original is not None


def commit(prepared: PreparedAddition, repository: Repository) -> Addition:
    """Record one addition. Raises as `Catalog.add_version`, and what `commit_all` gives."""
    (outcome,) = commit_all([prepared], repository)
    if isinstance(outcome, DsvdError):
        raise outcome
    return outcome


def commit_all(
    prepared: Sequence[PreparedAddition], repository: Repository
) -> list[Addition | DsvdError]:
    """Record additions in as few events as they fit into; gives the outcome of each, in order.

    Those that are refused give their error: the version that was recognised was removed meanwhile,
    garbage collection has taken an object, a rule of names is broken. They leave nothing behind.
    """
    changing = [one for one in prepared if one.known is None or one.version.changes_it]
    recorded = _recorded([one.version for one in changing], repository)
    outcome_of = dict(zip(map(id, changing), recorded, strict=True))
    listings: dict[tuple[str, str], str] = {}
    outcomes: list[Addition | DsvdError] = []
    for one in prepared:
        outcome = outcome_of.get(id(one))
        if isinstance(outcome, DsvdError):
            outcomes.append(outcome)
            continue
        outcomes.append(_addition(one, outcome))
        listings |= one.listings or {}
    if listings:
        repository.catalog.remember_listings(listings)
    return outcomes


def _recorded(
    versions: Sequence[PreparedVersion], repository: Repository
) -> list[RecordedVersion | DsvdError]:
    outcomes: list[RecordedVersion | DsvdError] = []
    while rest := versions[len(outcomes) :]:
        try:
            outcomes += repository.catalog.add_prepared(
                rest, lambda one: repository.objects.require(*one.objects)
            )
        except DsvdError as error:  # of the registry or the machine: the rest would fail like these
            outcomes += [error] * len(rest)
    return outcomes


def _addition(prepared: PreparedAddition, recorded: RecordedVersion | None) -> Addition:
    attached: tuple[AttachmentRecord, ...]
    if recorded is None:
        assert prepared.known is not None  # a new version is recorded
        version, attached = prepared.known, ()
    else:
        version, attached = recorded.version, recorded.attachments
    found = tuple(one for one in attached if one.name in prepared.found_attachments)
    keys = tuple(prepared.version.found_metadata)
    return Addition(
        version,
        created=prepared.known is None,
        upgraded=prepared.upgraded,
        left_out=prepared.left_out,
        taken_in=TakenIn(keys, found, prepared.not_taken),
    )
