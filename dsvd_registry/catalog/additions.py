"""Writes of whole additions: each is one part of an event, and many of them are one event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import DsvdError, InvalidArgument
from ..store import EventRoom
from . import edits, label_edits, lookup, metadata_edits
from .ledger import Transaction
from .lookup import Ref
from .prepared import PreparedVersion, RecordedVersion
from .records import AttachmentRecord, VersionRecord

Confirm = Callable[[PreparedVersion], object]


def record_all(
    transaction: Transaction, prepared: Sequence[PreparedVersion], confirm: Confirm
) -> list[RecordedVersion | DsvdError]:
    """Record as many additions, from the first on, as fit into one event.

    An addition that is refused leaves nothing in the event, and its error takes its place.
    """
    outcomes: list[RecordedVersion | DsvdError] = []
    room = EventRoom()
    for one in prepared:
        before = len(transaction.changes)
        try:
            with transaction.part():
                confirm(one)
                recorded = record(transaction, one)
                if not room.take(transaction.changes[before:]):
                    raise _NoRoomError("")
        except _NoRoomError:
            if before:
                break  # it comes first in the next event
            outcomes.append(InvalidArgument("one event has no room for this addition", _LESS))
        except DsvdError as error:
            outcomes.append(error)
        else:
            outcomes.append(recorded)
    return outcomes


class _NoRoomError(DsvdError):
    """The room that is left in an event is too little for an addition."""


_LESS = "Set a part of its tags and metadata afterwards, with `dsvd tag add` and `dsvd meta set`."


def record(transaction: Transaction, prepared: PreparedVersion) -> RecordedVersion:
    """Record one addition. Raises as the edits that it is made of."""
    model = prepared.model
    version = _labelled(transaction, prepared)
    number, before = version.number, len(transaction.changes)
    if prepared.residual is not None:
        residual, digests = prepared.residual, {"restored": prepared.restored}
        label_edits.set_residual(
            transaction, model, number, residual.sha256, residual.size, digests
        )
    if prepared.original is not None:
        label_edits.add_original(transaction, model, number)
    if prepared.metadata or prepared.found_metadata:
        known = metadata_edits.metadata(transaction, model, number)
        found = {key: text for key, text in prepared.found_metadata.items() if key not in known}
        metadata_edits.set_metadata(transaction, model, number, {**found, **prepared.metadata})
    attachments = tuple(_attached(transaction, number, prepared))
    if len(transaction.changes) > before:
        version = lookup.version(transaction.connection, Ref(model, number))
    return RecordedVersion(version, attachments)


def _labelled(transaction: Transaction, prepared: PreparedVersion) -> VersionRecord:
    """The version, which is added if it is new, with its labels."""
    model, new, note = prepared.model, prepared.version, prepared.note
    if isinstance(new, int):
        version = lookup.version(transaction.connection, Ref(model, new))
    else:
        version = edits.add_version(
            transaction,
            model,
            container=new.container,
            size=new.size,
            base=new.base,
            source=new.source,
            settings=new.settings,
            summary=new.summary,
            note=note,
            digests=new.digests,
        )
        note = ""
    if not note and not prepared.tags:
        return version
    return label_edits.set_labels(transaction, model, version.number, note, prepared.tags)


def _attached(
    transaction: Transaction, number: int, prepared: PreparedVersion
) -> Iterator[AttachmentRecord]:
    for one in prepared.attachments:
        yield metadata_edits.add_attachment(
            transaction,
            prepared.model,
            number,
            name=one.name,
            role=one.role,
            media_type=one.media_type,
            attachment=one.sha256,
            size=one.size,
        )
