"""Writes of the changeable parts of a version: its labels, signatures, residual and original.

They work as those of `edits`: if there is nothing to change, no change is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import Conflict, NotFound
from ..store import (
    AliasRemoved,
    AliasSet,
    NoteSet,
    OriginalAdded,
    OriginalRemoved,
    ResidualAdded,
    ResidualRemoved,
    SignatureAdded,
    TagAdded,
    TagRemoved,
)
from ..store.names import check_alias, check_name, folded
from . import lookup, queries
from .edits import check_not_needed, few_digests
from .ledger import Transaction
from .lookup import Ref
from .records import RecordedDigests, VersionRecord
from .suggest import a_few, near


def set_alias(transaction: Transaction, model: str, alias: str, number: int) -> VersionRecord:
    connection = transaction.connection
    check_alias(alias)
    found = lookup.version(connection, Ref(model, number))
    of = lookup.model(connection, model)
    twin = connection.execute(
        "SELECT name FROM aliases WHERE model_id = :model AND folded = :folded",
        {"model": of.id, "folded": folded(alias)},
    ).fetchone()
    if twin is not None and twin[0] != alias:
        raise Conflict(
            f"the alias {alias} differs from {twin[0]} in case alone", f"Write {twin[0]}."
        )
    if alias not in found.aliases:
        transaction.record(AliasSet(model=model, alias=alias, number=number))
    return lookup.version(connection, Ref(model, number))


def remove_alias(transaction: Transaction, model: str, alias: str) -> VersionRecord:
    connection = transaction.connection
    check_alias(alias)
    number = lookup.alias(connection, lookup.model(connection, model), alias)
    transaction.record(AliasRemoved(model=model, alias=alias))
    return lookup.version(connection, Ref(model, number))


def add_tag(transaction: Transaction, model: str, number: int, tag: str) -> VersionRecord:
    connection = transaction.connection
    check_name("tag", tag)
    found = lookup.version(connection, Ref(model, number))
    twin = next((name for name in found.tags if folded(name) == folded(tag)), None)
    if twin not in (None, tag):
        raise Conflict(f"the tag {tag} differs from {twin} in case alone", f"Write {twin}.")
    if twin is None:
        transaction.record(TagAdded(model=model, number=number, tag=tag))
    return lookup.version(connection, Ref(model, number))


def remove_tag(transaction: Transaction, model: str, number: int, tag: str) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    if tag not in found.tags:
        otherwise = f"It has {a_few(found.tags)}." if found.tags else "It has no tags."
        raise NotFound(f"{found.ref} has no tag {tag!r}", near(tag, found.tags, otherwise))
    transaction.record(TagRemoved(model=model, number=number, tag=tag))
    return lookup.version(connection, Ref(model, number))


def set_note(transaction: Transaction, model: str, number: int, text: str) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    if found.note != text:
        transaction.record(NoteSet(model=model, number=number, text=text))
    return lookup.version(connection, Ref(model, number))


def set_labels(
    transaction: Transaction, model: str, number: int, note: str, tags: Iterable[str]
) -> VersionRecord:
    """Replace the note, unless it is empty, and add tags: changes of one event."""
    if note:
        set_note(transaction, model, number, note)
    for tag in tags:
        add_tag(transaction, model, number, tag)
    return lookup.version(transaction.connection, Ref(model, number))


def add_signature(
    transaction: Transaction, model: str, number: int, signer: str, signature: str
) -> bool:
    """Record a signature of a version; gives False if the version has it already."""
    connection = transaction.connection
    lookup.version(connection, Ref(model, number))
    this = ("models.name = :model AND versions.number = :number", "signatures.signer = :signer")
    known = queries.signatures(connection, *this, model=model, number=number, signer=signer)
    if known and known[0].signature == signature:
        return False
    transaction.record(
        SignatureAdded(model=model, number=number, signer=signer, signature=signature)
    )
    return True


def set_residual(
    transaction: Transaction,
    model: str,
    number: int,
    residual: str,
    size: int,
    digests: RecordedDigests,
) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    if found.residual is None or found.residual.sha256 != residual:
        transaction.record(
            ResidualAdded(
                model=model,
                number=number,
                residual=residual,
                size=size,
                digests=few_digests(digests),
            )
        )
    return lookup.version(connection, Ref(model, number))


def remove_residual(transaction: Transaction, model: str, number: int) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    if found.residual is None:
        raise NotFound(
            f"{found.ref} has no residual: it is lossy already",
            "Add its source again with --lossless to make it lossless.",
        )
    check_not_needed(connection, found)
    transaction.record(ResidualRemoved(model=model, number=number))
    return lookup.version(connection, Ref(model, number))


def add_original(transaction: Transaction, model: str, number: int) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    if found.original is None:
        transaction.record(OriginalAdded(model=model, number=number))
    return lookup.version(connection, Ref(model, number))


def remove_original(transaction: Transaction, model: str, number: int) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    if found.original is None:
        raise NotFound(
            f"{found.ref} has no original", "Add its source again with --lossless to keep it."
        )
    check_not_needed(connection, found)
    transaction.record(OriginalRemoved(model=model, number=number))
    return lookup.version(connection, Ref(model, number))
