"""Versions that come from another registry, with all that belongs to them.

A version is recognised by its container, among the versions of the model of that name. One that is there
already keeps what it has, and gets what it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import InvalidArgument
from ..store import EventRoom
from ..store.names import folded
from . import additions, edits, label_edits, lookup, queries
from .database import Connection
from .ledger import Transaction
from .prepared import NewAttachment, NewVersion, PreparedVersion
from .records import BaseRecord, VersionRecord
from .whole_versions import WholeVersion, lacking, whole_versions

RESTORED = "restored"


class _NoRoomError(InvalidArgument):
    """The room that is left in an event is too little for a version."""


def receive(
    transaction: Transaction, versions: Sequence[WholeVersion], bases: Mapping[str, BaseRecord]
) -> list[VersionRecord]:
    """Add or complete as many versions, from the first on, as fit into one event; gives them.

    `bases`: by digest, those that the registry may lack. Raises as `edits.add_version`, and
    `InvalidArgument` beyond the limits of a version; then no version is recorded.
    """
    received: list[VersionRecord] = []
    room = EventRoom()
    for whole in versions:
        before = len(transaction.changes)
        try:
            with transaction.part():
                if whole.record.base in bases:
                    _receive_base(transaction, bases[whole.record.base])
                received.append(_receive(transaction, whole))
                if not room.take(transaction.changes[before:]):
                    raise _NoRoomError(f"one event has no room for {whole.record.ref}")
        except _NoRoomError:
            received.pop()  # it comes first in the next event
            if not received:
                raise
            break
    return received


def _receive_base(transaction: Transaction, base: BaseRecord) -> None:
    """Add a base, unless one has its weights.

    Where its name is taken by other weights, the first digits of the digest are put behind it.
    """
    connection = transaction.connection
    if queries.bases(connection, "digest = :digest", digest=base.digest):
        return
    name = base.name
    if queries.bases(connection, "folded = :folded", folded=folded(name)):
        name = f"{name[:119]}-{base.digest[:8]}"
    edits.add_base(
        transaction,
        name,
        digest=base.digest,
        manifest=base.manifest,
        file=base.file,
        size=base.size,
        format=base.format,
        link=None if base.link is None else str(base.link),
        replace=False,
    )


def _receive(transaction: Transaction, whole: WholeVersion) -> VersionRecord:
    """Add a version as the next of its model, or complete the one that is there.

    An alias that the model has stays where it is.
    """
    connection, model = transaction.connection, whole.record.model
    these = ("models.name = :model", "versions.container = :container")
    there = whole_versions(connection, *these, model=model, container=whole.record.container)
    known = there[-1] if there else None
    part = lacking(whole, known)
    number = additions.record(
        transaction, _prepared(part, None if known is None else known.record.number)
    ).version.number
    for one in part.signatures:
        label_edits.add_signature(transaction, model, number, one.signer, one.signature)
    for alias in whole.aliases:
        if not _has_alias(connection, model, alias):
            label_edits.set_alias(transaction, model, alias, number)
    return lookup.version(connection, lookup.Ref(model, number))


def _prepared(part: WholeVersion, number: int | None) -> PreparedVersion:
    """The addition of a version, or of what the version of that number lacks of it."""
    record = part.record
    new = NewVersion(
        record.container,
        record.size,
        record.base,
        record.source,
        record.settings,
        record.summary,
        {name: files for name, files in part.digests.items() if name != RESTORED},
    )
    return PreparedVersion(
        record.model,
        new if number is None else number,
        record.note,
        record.tags,
        record.residual,
        part.digests.get(RESTORED, {}),
        None if record.original is None else record.original.sha256,
        found_metadata=part.metadata,
        attachments=tuple(
            NewAttachment(one.name, one.role, one.media_type, one.sha256, one.size)
            for one in part.attachments
        ),
    )


def _has_alias(connection: Connection, model: str, alias: str) -> bool:
    found = connection.execute(
        """
        SELECT 1 FROM aliases JOIN models ON models.id = aliases.model_id
        WHERE models.name = :model AND aliases.folded = :folded
        """,
        {"model": model, "folded": folded(alias)},
    )
    return found.fetchone() is not None
