"""The application of changes to the tables. No other code writes them, in use or in a rebuild.

A change that does not fit those before it is refused. The ids of rows count up in the order of the
changes, so that a rebuilt catalog is equal to the lost one, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from .. import canonical
from ..errors import RegistryError
from ..hashing import sha256
from ..store import (
    AliasRemoved,
    AliasSet,
    AttachmentAdded,
    AttachmentRemoved,
    BaseAdded,
    BaseRemoved,
    Change,
    Event,
    FileArchived,
    FileRestored,
    MetadataRemoved,
    MetadataSet,
    NoteSet,
    ObjectsCondemned,
    OriginalAdded,
    OriginalRemoved,
    ResidualAdded,
    ResidualRemoved,
    SignatureAdded,
    TagAdded,
    TagRemoved,
    VersionAdded,
    VersionRemoved,
)
from ..store.names import folded
from .database import Connection
from .records import RecordedDigests

# The tables that events make, in the order in which they can be emptied.
TABLES = (
    "digests",
    "archived_files",
    "attachments",
    "metadata",
    "signatures",
    "tags",
    "aliases",
    "versions",
    "models",
    "bases",
)


def apply(connection: Connection, event: Event) -> None:
    """Make all changes of an event. Raises `RegistryError` for one that does not fit."""
    for change in event.changes:
        apply_change(connection, change, event.sequence, event.time)


def apply_change(connection: Connection, change: Change, sequence: int, time: str) -> None:
    """Change the rows as `change` says, which event `sequence` makes at `time`.

    Raises `RegistryError` for a change that does not fit.
    """
    try:
        _apply(connection, change, time)
    except _MisfitError as error:
        raise RegistryError(
            f"event {sequence} does not fit those before it: {error}",
            "Restore the folder `events` from a copy of the registry.",
        ) from error


def _apply(connection: Connection, change: Change, time: str) -> None:
    match change:
        case BaseAdded():
            _base_added(change, time, connection)
        case BaseRemoved():
            _base_removed(change, connection)
        case VersionAdded():
            _version_added(change, time, connection)
        case VersionRemoved():
            _version_removed(change, time, connection)
        case AliasSet():
            _alias_set(change, connection)
        case AliasRemoved():
            _alias_removed(change, connection)
        case TagAdded():
            _tag_added(change, connection)
        case TagRemoved():
            _tag_removed(change, connection)
        case NoteSet():
            _note_set(change, connection)
        case MetadataSet():
            _metadata_set(change, connection)
        case MetadataRemoved():
            _metadata_removed(change, connection)
        case AttachmentAdded():
            _attachment_added(change, time, connection)
        case AttachmentRemoved():
            _attachment_removed(change, connection)
        case SignatureAdded():
            _signature_added(change, time, connection)
        case ResidualAdded():
            _residual_added(change, connection)
        case ResidualRemoved():
            _residual_removed(change, connection)
        case OriginalAdded():
            _original_added(change, connection)
        case OriginalRemoved():
            _original_removed(change, connection)
        case FileArchived():
            _file_archived(change, time, connection)
        case FileRestored():
            _file_restored(change, connection)
        case ObjectsCondemned():
            pass  # no row names an object that nothing needs
        case _:
            assert_never(change)


def _base_added(change: BaseAdded, time: str, connection: Connection) -> None:
    base = {
        "id": _next_id(connection, "bases"),
        "name": change.name,
        "folded": folded(change.name),
        "digest": change.digest,
        "manifest": change.manifest,
        "file": change.file,
        "size": change.size,
        "format": change.format,
        "link": change.link,
        "added": time,
    }
    known = connection.execute(
        "SELECT name, digest FROM bases WHERE folded = :folded OR digest = :digest", base
    ).fetchall()
    if not known:
        _insert(connection, "bases", base)
    elif [tuple(one) for one in known] == [(change.name, change.digest)]:
        connection.execute(
            """
            UPDATE bases
            SET manifest = :manifest, file = :file, size = :size, format = :format, link = :link
            WHERE digest = :digest
            """,
            base,
        )
    else:
        raise _MisfitError(f"the base {change.name} conflicts with {known[0][0]}")


def _base_removed(change: BaseRemoved, connection: Connection) -> None:
    found = connection.execute("DELETE FROM bases WHERE name = :name", {"name": change.name})
    if found.rowcount != 1:
        raise _MisfitError(f"there is no base {change.name}")


def _version_added(change: VersionAdded, time: str, connection: Connection) -> None:
    base = connection.execute("SELECT id FROM bases WHERE digest = :base", {"base": change.base})
    if base.fetchone() is None:
        raise _MisfitError(f"{change.model}@{change.number} needs the unknown base {change.base}")
    version = {
        "id": _next_id(connection, "versions"),
        "model_id": _counted_model(change, connection),
        "number": change.number,
        "container": change.container,
        "size": change.size,
        "base": change.base,
        "source_format": change.source_format,
        "source_sha256": change.source_sha256,
        "source_size": change.source_size,
        "settings": change.settings,
        "summary": canonical.encode_small(change.summary).decode(),
        "note": change.note,
        "added": time,
        "removed": None,
        "residual": None,
        "residual_size": None,
        "original": None,
    }
    _insert(connection, "versions", version)
    _insert_digests(connection, version["id"], change.digests)


def _insert_digests(connection: Connection, version: object, digests: RecordedDigests) -> None:
    (highest,) = connection.execute(
        "SELECT max(place) FROM digests WHERE version_id = :version", {"version": version}
    ).fetchone()
    rows = (
        {"part": part, "path": path, "kind": kind, "digest": digest}
        for part, files in sorted(digests.items())
        for path, kinds in sorted(files.items())
        for kind, digest in sorted(kinds.items())
    )
    for place, row in enumerate(rows, (highest or 0) + 1):
        _insert(connection, "digests", {"version_id": version, "place": place, **row})


def _counted_model(change: VersionAdded, connection: Connection) -> int:
    """The id of the model, new or not, that now has the version of `change` as its latest."""
    model = {"name": change.model, "folded": folded(change.model)}
    numbers = {"last_number": change.number, "latest": change.number}
    known = connection.execute(
        "SELECT id, name, last_number FROM models WHERE folded = :folded", model
    ).fetchone()
    id, name, last = known or (_next_id(connection, "models"), change.model, 0)
    if change.number != last + 1 or name != change.model:
        raise _MisfitError(f"{change.model}@{change.number} comes after {last} versions")
    if known is None:
        _insert(connection, "models", {"id": id, **model, **numbers})
    else:
        connection.execute(
            "UPDATE models SET last_number = :last_number, latest = :latest WHERE id = :id",
            {"id": id, **numbers},
        )
    return int(id)


def _version_removed(change: VersionRemoved, time: str, connection: Connection) -> None:
    version = {**_live(connection, change.model, change.number), "time": time}
    alias = connection.execute("SELECT name FROM aliases WHERE version_id = :version", version)
    if alias.fetchone() is not None:
        raise _MisfitError(f"an alias stands for {change.model}@{change.number}")
    archived = connection.execute(
        "SELECT path FROM archived_files WHERE version_id = :version", version
    ).fetchone()
    if archived is not None:
        raise _MisfitError(f"{change.model}@{change.number} has the archived file {archived[0]}")
    connection.execute("UPDATE versions SET removed = :time WHERE id = :version", version)
    connection.execute(
        """
        UPDATE models SET latest = (
            SELECT max(number) FROM versions WHERE model_id = :model AND removed IS NULL
        )
        WHERE id = :model
        """,
        version,
    )


def _alias_set(change: AliasSet, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    alias = {
        "model_id": version["model"],
        "folded": folded(change.alias),
        "name": change.alias,
        "version_id": version["version"],
    }
    moved = connection.execute(
        """
        UPDATE aliases SET name = :name, version_id = :version_id
        WHERE model_id = :model_id AND folded = :folded
        """,
        alias,
    )
    if moved.rowcount == 0:
        _insert(connection, "aliases", alias)


def _alias_removed(change: AliasRemoved, connection: Connection) -> None:
    found = connection.execute(
        """
        DELETE FROM aliases
        WHERE model_id = (SELECT id FROM models WHERE name = :model) AND name = :alias
        """,
        {"model": change.model, "alias": change.alias},
    )
    if found.rowcount != 1:
        raise _MisfitError(f"there is no alias {change.model}@{change.alias}")


def _tag_added(change: TagAdded, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    tag = {"version_id": version["version"], "folded": folded(change.tag), "name": change.tag}
    known = connection.execute(
        "SELECT name FROM tags WHERE version_id = :version_id AND folded = :folded", tag
    )
    if known.fetchone() is not None:
        raise _MisfitError(f"{change.model}@{change.number} has the tag {change.tag}")
    _insert(connection, "tags", tag)


def _tag_removed(change: TagRemoved, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    found = connection.execute(
        "DELETE FROM tags WHERE version_id = :version AND name = :name",
        {**version, "name": change.tag},
    )
    if found.rowcount != 1:
        raise _MisfitError(f"{change.model}@{change.number} has no tag {change.tag}")


def _note_set(change: NoteSet, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    connection.execute(
        "UPDATE versions SET note = :note WHERE id = :version", {**version, "note": change.text}
    )


def _metadata_set(change: MetadataSet, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    for key, value in change.entries.items():
        entry = {"version_id": version["version"], "name": key, "value": value}
        changed = connection.execute(
            "UPDATE metadata SET value = :value WHERE version_id = :version_id AND name = :name",
            entry,
        )
        if changed.rowcount == 0:
            _insert(connection, "metadata", entry)


def _metadata_removed(change: MetadataRemoved, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    found = connection.execute(
        "DELETE FROM metadata WHERE version_id = :version AND name = :name",
        {**version, "name": change.key},
    )
    if found.rowcount != 1:
        raise _MisfitError(f"{change.model}@{change.number} has no metadata {change.key}")


def _attachment_added(change: AttachmentAdded, time: str, connection: Connection) -> None:
    attachment = {
        "version_id": _live(connection, change.model, change.number)["version"],
        "folded": folded(change.name),
        "id": _next_id(connection, "attachments"),
        "name": change.name,
        "role": change.role,
        "media_type": change.media_type,
        "object": change.attachment,
        "size": change.size,
        "added": time,
    }
    known = connection.execute(
        "SELECT name FROM attachments WHERE version_id = :version_id AND folded = :folded",
        attachment,
    )
    if known.fetchone() is not None:
        raise _MisfitError(f"{change.model}@{change.number} has the attachment {change.name}")
    _insert(connection, "attachments", attachment)


def _attachment_removed(change: AttachmentRemoved, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    found = connection.execute(
        "DELETE FROM attachments WHERE version_id = :version AND name = :name",
        {**version, "name": change.name},
    )
    if found.rowcount != 1:
        raise _MisfitError(f"{change.model}@{change.number} has no attachment {change.name}")


def _signature_added(change: SignatureAdded, time: str, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    signature = {
        "version_id": version["version"],
        "signer": change.signer,
        "signature": change.signature,
        "added": time,
    }
    replaced = connection.execute(
        """
        UPDATE signatures SET signature = :signature, added = :added
        WHERE version_id = :version_id AND signer = :signer
        """,
        signature,
    )
    if replaced.rowcount == 0:
        _insert(connection, "signatures", signature)


def _residual_added(change: ResidualAdded, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    connection.execute(
        "UPDATE versions SET residual = :residual, residual_size = :size WHERE id = :version",
        {**version, "residual": change.residual, "size": change.size},
    )
    _forget_restored(connection, version)
    _insert_digests(connection, version["version"], change.digests)


def _residual_removed(change: ResidualRemoved, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    found = connection.execute(
        """
        UPDATE versions SET residual = NULL, residual_size = NULL
        WHERE id = :version AND residual IS NOT NULL
        """,
        version,
    )
    if found.rowcount != 1:
        raise _MisfitError(f"{change.model}@{change.number} has no residual")
    _forget_restored(connection, version)


def _forget_restored(connection: Connection, version: dict[str, object]) -> None:
    connection.execute(
        "DELETE FROM digests WHERE version_id = :version AND part = 'restored'", version
    )


def _original_added(change: OriginalAdded, connection: Connection) -> None:
    connection.execute(
        "UPDATE versions SET original = source_sha256 WHERE id = :version",
        _live(connection, change.model, change.number),
    )


def _original_removed(change: OriginalRemoved, connection: Connection) -> None:
    found = connection.execute(
        "UPDATE versions SET original = NULL WHERE id = :version AND original IS NOT NULL",
        _live(connection, change.model, change.number),
    )
    if found.rowcount != 1:
        raise _MisfitError(f"{change.model}@{change.number} has no original")


def _file_archived(change: FileArchived, time: str, connection: Connection) -> None:
    version = _live(connection, change.model, change.number)
    file = {
        "path_sha256": sha256(change.path.encode()),
        "path": change.path,
        "version_id": version["version"],
        "mtime_ns": change.mtime_ns,
        "mode": change.mode,
        "link": change.link,
        "added": time,
    }
    connection.execute("DELETE FROM archived_files WHERE path_sha256 = :path_sha256", file)
    _insert(connection, "archived_files", file)


def _file_restored(change: FileRestored, connection: Connection) -> None:
    found = connection.execute(
        "DELETE FROM archived_files WHERE path_sha256 = :key",
        {"key": sha256(change.path.encode())},
    )
    if found.rowcount != 1:
        raise _MisfitError(f"{change.path} is not archived")


def _next_id(connection: Connection, table: str) -> int:
    (highest,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()
    return (highest or 0) + 1


def _insert(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", row)


def _live(connection: Connection, model: str, number: int) -> dict[str, object]:
    """The ids of a version that is not removed, and of its model, as `version` and `model`."""
    row = connection.execute(
        """
        SELECT versions.id, models.id FROM versions JOIN models ON models.id = versions.model_id
        WHERE models.name = :model AND versions.number = :number AND versions.removed IS NULL
        """,
        {"model": model, "number": number},
    ).fetchone()
    if row is None:
        raise _MisfitError(f"there is no version {model}@{number}")
    return {"version": row[0], "model": row[1]}


class _MisfitError(Exception):
    """A change that does not fit those before it; the message says why."""
