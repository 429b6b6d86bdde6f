"""The application of one event to the tables. No other code writes them, in use or in a rebuild.

An event that does not fit the events before it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from .. import canonical
from ..errors import RegistryError
from ..store import (
    AliasRemoved,
    AliasSet,
    BaseAdded,
    BaseRemoved,
    Event,
    FileArchived,
    FileRestored,
    NoteSet,
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

# The tables that events make, in the order in which they can be emptied.
TABLES = ("archived_files", "signatures", "tags", "aliases", "versions", "models", "bases")


def apply(connection: Connection, event: Event) -> None:
    """Change the rows as `event` says. Raises `RegistryError` for one that does not fit."""
    match event:
        case BaseAdded():
            _base_added(event, connection)
        case BaseRemoved():
            _base_removed(event, connection)
        case VersionAdded():
            _version_added(event, connection)
        case VersionRemoved():
            _version_removed(event, connection)
        case AliasSet():
            _alias_set(event, connection)
        case AliasRemoved():
            _alias_removed(event, connection)
        case TagAdded():
            _tag_added(event, connection)
        case TagRemoved():
            _tag_removed(event, connection)
        case NoteSet():
            _note_set(event, connection)
        case SignatureAdded():
            _signature_added(event, connection)
        case ResidualAdded():
            _residual_added(event, connection)
        case ResidualRemoved():
            _residual_removed(event, connection)
        case OriginalAdded():
            _original_added(event, connection)
        case OriginalRemoved():
            _original_removed(event, connection)
        case FileArchived():
            _file_archived(event, connection)
        case FileRestored():
            _file_restored(event, connection)
        case _:
            assert_never(event)


def _base_added(event: BaseAdded, connection: Connection) -> None:
    base = {
        "id": event.sequence,
        "name": event.name,
        "folded": folded(event.name),
        "digest": event.digest,
        "manifest": event.manifest,
        "file": event.file,
        "size": event.size,
        "format": event.format,
        "link": event.link,
        "added": event.time,
    }
    known = connection.execute(
        "SELECT name, digest FROM bases WHERE folded = :folded OR digest = :digest", base
    ).fetchall()
    if not known:
        _insert(connection, "bases", base)
    elif [tuple(one) for one in known] == [(event.name, event.digest)]:
        connection.execute(
            """
            UPDATE bases
            SET manifest = :manifest, file = :file, size = :size, format = :format, link = :link
            WHERE digest = :digest
            """,
            base,
        )
    else:
        raise _misfit(event, f"the base {event.name} conflicts with {known[0][0]}")


def _base_removed(event: BaseRemoved, connection: Connection) -> None:
    found = connection.execute("DELETE FROM bases WHERE name = :name", {"name": event.name})
    if found.rowcount != 1:
        raise _misfit(event, f"there is no base {event.name}")


def _version_added(event: VersionAdded, connection: Connection) -> None:
    base = connection.execute("SELECT id FROM bases WHERE digest = :base", {"base": event.base})
    if base.fetchone() is None:
        raise _misfit(event, f"{event.model}@{event.number} needs the unknown base {event.base}")
    version = {
        "id": event.sequence,
        "model_id": _counted_model(event, connection),
        "number": event.number,
        "container": event.container,
        "size": event.size,
        "base": event.base,
        "source_format": event.source_format,
        "source_sha256": event.source_sha256,
        "source_size": event.source_size,
        "settings": event.settings,
        "summary": canonical.encode_small(event.summary).decode(),
        "note": event.note,
        "added": event.time,
        "removed": None,
        "residual": None,
        "residual_size": None,
        "original": None,
    }
    _insert(connection, "versions", version)


def _counted_model(event: VersionAdded, connection: Connection) -> int:
    """The id of the model, new or not, that now has the version of `event` as its latest."""
    model = {"name": event.model, "folded": folded(event.model)}
    numbers = {"last_number": event.number, "latest": event.number}
    known = connection.execute(
        "SELECT id, name, last_number FROM models WHERE folded = :folded", model
    ).fetchone()
    id, name, last = known or (event.sequence, event.model, 0)
    if event.number != last + 1 or name != event.model:
        raise _misfit(event, f"{event.model}@{event.number} comes after {last} versions")
    if known is None:
        _insert(connection, "models", {"id": id, **model, **numbers})
    else:
        connection.execute(
            "UPDATE models SET last_number = :last_number, latest = :latest WHERE id = :id",
            {"id": id, **numbers},
        )
    return int(id)


def _version_removed(event: VersionRemoved, connection: Connection) -> None:
    version = {**_live(connection, event, event.model, event.number), "time": event.time}
    alias = connection.execute("SELECT name FROM aliases WHERE version_id = :version", version)
    if alias.fetchone() is not None:
        raise _misfit(event, f"an alias stands for {event.model}@{event.number}")
    archived = connection.execute(
        "SELECT path FROM archived_files WHERE version_id = :version", version
    ).fetchone()
    if archived is not None:
        raise _misfit(event, f"{event.model}@{event.number} has the archived file {archived[0]}")
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


def _alias_set(event: AliasSet, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    alias = {
        "model_id": version["model"],
        "folded": folded(event.alias),
        "name": event.alias,
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


def _alias_removed(event: AliasRemoved, connection: Connection) -> None:
    found = connection.execute(
        """
        DELETE FROM aliases
        WHERE model_id = (SELECT id FROM models WHERE name = :model) AND name = :alias
        """,
        {"model": event.model, "alias": event.alias},
    )
    if found.rowcount != 1:
        raise _misfit(event, f"there is no alias {event.model}@{event.alias}")


def _tag_added(event: TagAdded, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    tag = {"version_id": version["version"], "folded": folded(event.tag), "name": event.tag}
    known = connection.execute(
        "SELECT name FROM tags WHERE version_id = :version_id AND folded = :folded", tag
    )
    if known.fetchone() is not None:
        raise _misfit(event, f"{event.model}@{event.number} has the tag {event.tag}")
    _insert(connection, "tags", tag)


def _tag_removed(event: TagRemoved, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    found = connection.execute(
        "DELETE FROM tags WHERE version_id = :version AND name = :name",
        {**version, "name": event.tag},
    )
    if found.rowcount != 1:
        raise _misfit(event, f"{event.model}@{event.number} has no tag {event.tag}")


def _note_set(event: NoteSet, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    connection.execute(
        "UPDATE versions SET note = :note WHERE id = :version", {**version, "note": event.text}
    )


def _signature_added(event: SignatureAdded, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    signature = {
        "version_id": version["version"],
        "signer": event.signer,
        "signature": event.signature,
        "added": event.time,
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


def _residual_added(event: ResidualAdded, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    connection.execute(
        "UPDATE versions SET residual = :residual, residual_size = :size WHERE id = :version",
        {**version, "residual": event.residual, "size": event.size},
    )


def _residual_removed(event: ResidualRemoved, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    found = connection.execute(
        """
        UPDATE versions SET residual = NULL, residual_size = NULL
        WHERE id = :version AND residual IS NOT NULL
        """,
        version,
    )
    if found.rowcount != 1:
        raise _misfit(event, f"{event.model}@{event.number} has no residual")


def _original_added(event: OriginalAdded, connection: Connection) -> None:
    connection.execute(
        "UPDATE versions SET original = source_sha256 WHERE id = :version",
        _live(connection, event, event.model, event.number),
    )


def _original_removed(event: OriginalRemoved, connection: Connection) -> None:
    found = connection.execute(
        "UPDATE versions SET original = NULL WHERE id = :version AND original IS NOT NULL",
        _live(connection, event, event.model, event.number),
    )
    if found.rowcount != 1:
        raise _misfit(event, f"{event.model}@{event.number} has no original")


def _file_archived(event: FileArchived, connection: Connection) -> None:
    version = _live(connection, event, event.model, event.number)
    connection.execute("DELETE FROM archived_files WHERE path = :path", {"path": event.path})
    file = {
        "path": event.path,
        "version_id": version["version"],
        "mtime_ns": event.mtime_ns,
        "mode": event.mode,
        "link": event.link,
        "added": event.time,
    }
    _insert(connection, "archived_files", file)


def _file_restored(event: FileRestored, connection: Connection) -> None:
    found = connection.execute(
        "DELETE FROM archived_files WHERE path = :path", {"path": event.path}
    )
    if found.rowcount != 1:
        raise _misfit(event, f"{event.path} is not archived")


def _insert(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", row)


def _live(connection: Connection, event: Event, model: str, number: int) -> dict[str, object]:
    """The ids of a version that is not removed, and of its model, as `version` and `model`."""
    row = connection.execute(
        """
        SELECT versions.id, models.id FROM versions JOIN models ON models.id = versions.model_id
        WHERE models.name = :model AND versions.number = :number AND versions.removed IS NULL
        """,
        {"model": model, "number": number},
    ).fetchone()
    if row is None:
        raise _misfit(event, f"there is no version {model}@{number}")
    return {"version": row[0], "model": row[1]}


def _misfit(event: Event, why: str) -> RegistryError:
    return RegistryError(
        f"event {event.sequence} does not fit those before it: {why}",
        "Restore the folder `events` from a copy of the registry.",
    )
