"""Writes of what people know of a version: its metadata and its attachments.

They work as those of `edits`: if there is nothing to change, no event is recorded. The limits keep one
version small enough to be shown on one page and listed in one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

from ..errors import Conflict, InvalidArgument, NotFound
from ..store import AttachmentAdded, AttachmentRemoved, MetadataRemoved, MetadataSet
from ..store.event_fields import MAX_ENTRIES, Key, Value
from ..store.names import check_name, folded
from . import lookup, queries
from .ledger import Transaction
from .lookup import Ref
from .prepared import NewAttachment
from .records import AttachmentRecord
from .suggest import a_few, near

MAX_KEYS = 1024
MAX_ATTACHMENTS = 64
MAX_ATTACHED_BYTES = 256 << 20

Attached = TypeVar("Attached", bound=AttachmentRecord | NewAttachment)

_THIS = ("models.name = :model", "versions.number = :number")


def check_entries(entries: Mapping[str, str]) -> None:
    """Check keys and values. Raises `InvalidArgument`, which names the first bad one."""
    for kind, texts in ((Key, entries), (Value, entries.values())):
        _, rule = get_args(kind)
        for text in texts:
            if not rule.accepts(text):
                raise InvalidArgument(
                    f"{text[:80]!r} is not {rule.expected}",
                    "`dsvd meta set --help` tells more; a long text can be attached as a note.",
                )


def set_metadata(
    transaction: Transaction, model: str, number: int, entries: Mapping[str, str]
) -> Mapping[str, str]:
    """Set keys of a version's metadata; gives all of it. Raises `InvalidArgument` beyond a limit."""
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    check_entries(entries)
    known = metadata(transaction, model, number)
    changed = {key: value for key, value in entries.items() if known.get(key) != value}
    result = known | changed
    characters = sum(len(key) + len(value) for key, value in result.items())
    if changed and (len(result) > MAX_KEYS or characters > MAX_ENTRIES):
        raise InvalidArgument(
            f"the metadata of {found.ref} would have {len(result)} keys and {characters} characters; "
            f"at most {MAX_KEYS} keys and {MAX_ENTRIES} characters are kept",
            "Remove keys with `dsvd meta rm`, or attach a long text as a note.",
        )
    if not changed:
        return known
    transaction.record(MetadataSet(model=model, number=number, entries=changed))
    return metadata(transaction, model, number)


def remove_metadata(
    transaction: Transaction, model: str, number: int, key: str
) -> Mapping[str, str]:
    """Remove one key of a version's metadata; gives what is left."""
    found = lookup.version(transaction.connection, Ref(model, number))
    known = metadata(transaction, model, number)
    if key not in known:
        otherwise = f"It has {a_few(list(known))}." if known else "It has none."
        raise NotFound(f"{found.ref} has no metadata {key!r}", near(key, known, otherwise))
    transaction.record(MetadataRemoved(model=model, number=number, key=key))
    return metadata(transaction, model, number)


def add_attachment(
    transaction: Transaction,
    model: str,
    number: int,
    *,
    name: str,
    role: str,
    media_type: str,
    attachment: str,
    size: int,
) -> AttachmentRecord:
    """Record an attachment, an object; the same one again changes nothing."""
    connection = transaction.connection
    check_name("attachment", name)
    found = lookup.version(connection, Ref(model, number))
    attached = queries.attachments(connection, *_THIS, model=model, number=number)
    new = NewAttachment(name, role, media_type, attachment, size)
    if (there := attached_twin(new, attached, found.ref)) is not None:
        return there
    transaction.record(
        AttachmentAdded(
            model=model,
            number=number,
            name=name,
            role=role,
            media_type=media_type,
            attachment=attachment,
            size=size,
        )
    )
    return queries.attachments(connection, *_THIS, model=model, number=number)[-1]


def attached_twin(new: NewAttachment, attached: Sequence[Attached], ref: str) -> Attached | None:
    """The attachment of a version that is equal to a new one; None if the version may have the new one.

    Raises `Conflict` for another one of its name, `InvalidArgument` beyond the limits.
    """
    twin = next((one for one in attached if folded(one.name) == folded(new.name)), None)
    if twin is not None:
        if (twin.name, twin.sha256, twin.role) == (new.name, new.sha256, new.role):
            return twin
        raise Conflict(
            f"{ref} has another attachment {twin.name}, a {twin.role}",
            f"Remove it first with `dsvd detach {ref} {twin.name}`, or rename the file.",
        )
    total = new.size + sum(one.size for one in attached)
    if len(attached) == MAX_ATTACHMENTS or total > MAX_ATTACHED_BYTES:
        raise InvalidArgument(
            f"{ref} would have {len(attached) + 1} attachments of {total} bytes; at most "
            f"{MAX_ATTACHMENTS} of {MAX_ATTACHED_BYTES} bytes in all are kept",
            f"Remove one with `dsvd detach {ref} NAME`.",
        )
    return None


def remove_attachment(
    transaction: Transaction, model: str, number: int, name: str
) -> AttachmentRecord:
    """Remove an attachment, whose object is then left to garbage collection; gives its record."""
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    attached = queries.attachments(connection, *_THIS, model=model, number=number)
    by_name = {one.name: one for one in attached}
    if name not in by_name:
        otherwise = f"It has {a_few(list(by_name))}." if by_name else "It has none."
        raise NotFound(f"{found.ref} has no attachment {name!r}", near(name, by_name, otherwise))
    transaction.record(AttachmentRemoved(model=model, number=number, name=name))
    return by_name[name]


def metadata(transaction: Transaction, model: str, number: int) -> dict[str, str]:
    """The metadata of a version, by key."""
    found = queries.metadata(transaction.connection, *_THIS, model=model, number=number)
    return found.get((model, number), {})
