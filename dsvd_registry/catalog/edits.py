"""Writes of bases, versions and archived files.

Each checks the arguments, then records one change, or none if there is nothing to change. These checks
give errors that say what to do; `replay` checks every change again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Conflict, NotFound
from ..store import (
    BaseAdded,
    BaseRemoved,
    FileArchived,
    FileRestored,
    VersionAdded,
    VersionRemoved,
)
from ..store.event_fields import MAX_DIGESTED
from ..store.names import LATEST, check_name, folded
from . import lookup, queries
from .database import Connection
from .ledger import Transaction
from .lookup import Ref
from .records import ArchivedFile, BaseRecord, RecordedDigests, Source, VersionRecord
from .suggest import a_few


def add_base(
    transaction: Transaction,
    name: str,
    *,
    digest: str,
    manifest: str,
    file: str,
    size: int,
    format: str,
    link: str | None,
    replace: bool,
) -> BaseRecord:
    connection = transaction.connection
    check_name("base", name)
    same_name = queries.bases(connection, "folded = :folded", folded=folded(name))
    if same_name and (same_name[0].name, same_name[0].digest) != (name, digest):
        taken = same_name[0]
        what = "holds other weights" if taken.digest != digest else "differs in case alone"
        raise Conflict(f"the base name {taken.name} is taken, and {what}", "Choose another name.")
    if same_name and not replace:
        return same_name[0]
    same_weights = queries.bases(connection, "digest = :digest", digest=digest)
    if same_weights and not same_name:
        known = same_weights[0].name
        raise Conflict(f"these weights are the base {known} already", f"Use --base {known}.")
    transaction.record(
        BaseAdded(
            name=name,
            digest=digest,
            manifest=manifest,
            file=file,
            size=size,
            format=format,
            link=link,
        )
    )
    return queries.bases(connection, "name = :name", name=name)[0]


def remove_base(transaction: Transaction, name: str) -> BaseRecord:
    connection = transaction.connection
    found = lookup.base(connection, name)
    this = "versions.base = :base"
    needed_by = queries.versions(connection, this, queries.LIVE, base=found.digest)
    if needed_by:
        refs = a_few([version.ref for version in needed_by])
        raise Conflict(f"the base {found.name} is needed by {refs}", "Remove these first.")
    transaction.record(BaseRemoved(name=found.name))
    return found


def add_version(
    transaction: Transaction,
    model: str,
    *,
    container: str,
    size: int,
    base: str,
    source: Source,
    settings: str,
    summary: Mapping[str, int | float | str],
    note: str,
    digests: RecordedDigests,
) -> VersionRecord:
    connection = transaction.connection
    twin = lookup.twin(connection, model)
    if twin is not None and twin.name != model:
        raise Conflict(
            f"the model name {model} differs from {twin.name} in case alone",
            f"Write {twin.name}, or choose another name.",
        )
    if not queries.bases(connection, "digest = :digest", digest=base):
        raise NotFound(f"there is no base with the digest {base}", "Add it with `dsvd base add`.")
    change = VersionAdded(
        model=model,
        number=1 if twin is None else twin.last_number + 1,
        container=container,
        size=size,
        base=base,
        source_format=source.format,
        source_sha256=source.sha256,
        source_size=source.size,
        settings=settings,
        summary=dict(summary),
        note=note,
        digests=few_digests(digests),
    )
    transaction.record(change)
    return lookup.version(connection, Ref(model, change.number))


def few_digests(digests: RecordedDigests) -> dict[str, dict[str, dict[str, str]]]:
    """The digests as an event has them: of the first files of each part, and of no empty part."""
    return {
        part: {path: dict(files[path]) for path in sorted(files)[:MAX_DIGESTED]}
        for part, files in digests.items()
        if files
    }


def remove_version(transaction: Transaction, model: str, number: int) -> VersionRecord:
    connection = transaction.connection
    found = lookup.version(connection, Ref(model, number))
    names = [name for name in found.aliases if name != LATEST]
    if names:
        raise Conflict(
            f"{found.ref} is what {a_few([f'{model}@{name}' for name in names])} stands for",
            "Move or remove the alias first.",
        )
    check_not_needed(connection, found)
    transaction.record(VersionRemoved(model=model, number=number))
    this = "models.name = :model AND versions.number = :number"
    return queries.versions(connection, this, model=model, number=number)[0]


def check_not_needed(connection: Connection, version: VersionRecord) -> None:
    """Raise `Conflict` if archived files can be restored from the version alone."""
    this = ("models.name = :model", "versions.number = :number")
    files = queries.archived_files(connection, *this, model=version.model, number=version.number)
    if files:
        paths = a_few([str(file.path) for file in files])
        raise Conflict(
            f"{version.ref} has the only copy of {paths}, which was archived",
            f"Restore it first with `dsvd restore {version.ref}`.",
        )


def archive_file(transaction: Transaction, file: ArchivedFile) -> None:
    connection = transaction.connection
    lookup.version(connection, Ref(file.model, file.number))
    known = queries.archived_file(connection, str(file.path))
    if known != [file]:
        transaction.record(
            FileArchived(
                path=str(file.path),
                model=file.model,
                number=file.number,
                mtime_ns=file.mtime_ns,
                mode=file.mode,
                link=None if file.link is None else str(file.link),
            )
        )


def restore_file(transaction: Transaction, path: str) -> None:
    connection = transaction.connection
    if not queries.archived_file(connection, path):
        raise NotFound(f"{path} is not archived", "It may have been restored already.")
    transaction.record(FileRestored(path=path))
