"""Versions with all that belongs to them, as they go from one registry to another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..store.names import LATEST, folded
from . import queries
from .database import Connection
from .records import (
    AttachmentRecord,
    RecordedDigests,
    SignatureRecord,
    VersionRecord,
)


@dataclass(frozen=True)
class WholeVersion:
    """A version with all that the catalog knows of it, or the part of it that another one lacks."""

    record: VersionRecord
    digests: RecordedDigests
    metadata: Mapping[str, str]
    attachments: tuple[AttachmentRecord, ...]
    signatures: tuple[SignatureRecord, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases that were set for it: all but `latest`."""
        return tuple(alias for alias in self.record.aliases if alias != LATEST)

    @property
    def is_empty(self) -> bool:
        """True if another version lacks nothing of it."""
        record = self.record
        parts = (record.note, record.tags, record.residual, record.original)
        return not any((*parts, self.metadata, self.attachments, self.signatures))


def whole_versions(
    connection: Connection, *conditions: str, **values: str | int
) -> list[WholeVersion]:
    """The live versions that meet the conditions (on versions and models), oldest first."""
    where = (queries.LIVE, *conditions)
    digests = queries.recorded_digests(connection, *where, **values)
    metadata = queries.metadata(connection, *where, **values)
    attachments: dict[str, list[AttachmentRecord]] = {}
    for attachment in queries.attachments(connection, *where, **values):
        attachments.setdefault(attachment.ref, []).append(attachment)
    signatures: dict[str, list[SignatureRecord]] = {}
    for signature in queries.signatures(connection, *where, **values):
        signatures.setdefault(signature.ref, []).append(signature)
    return [
        WholeVersion(
            record,
            digests.get((record.model, record.number), {}),
            metadata.get((record.model, record.number), {}),
            tuple(attachments.get(record.ref, ())),
            tuple(signatures.get(record.ref, ())),
        )
        for record in queries.versions(connection, *where, **values)
    ]


def of_models(connection: Connection, models: Collection[str] | None) -> list[WholeVersion]:
    """The live versions of these models, or of all models for None."""
    if models is None:
        return whole_versions(connection)
    this = "models.name = :model"
    return [one for model in models for one in whole_versions(connection, this, model=model)]


def lacking(whole: WholeVersion, known: WholeVersion | None) -> WholeVersion:
    """The part of a version that `known`, with the same container, lacks; all of it for None.

    A note, a key, an attachment's name or a signer that `known` has stays as it is there.
    """
    if known is None:
        return whole
    record, has = whole.record, known.record
    tags = {folded(tag) for tag in has.tags}
    attached = {folded(one.name) for one in known.attachments}
    signers = {one.signer for one in known.signatures}
    return WholeVersion(
        replace(
            record,
            note="" if has.note else record.note,
            tags=tuple(tag for tag in record.tags if folded(tag) not in tags),
            residual=None if has.residual else record.residual,
            original=None if has.original else record.original,
        ),
        whole.digests,
        {key: value for key, value in whole.metadata.items() if key not in known.metadata},
        tuple(one for one in whole.attachments if folded(one.name) not in attached),
        tuple(one for one in whole.signatures if one.signer not in signers),
    )
