"""Applying one event to the tables: the only code that writes them, in live use and on rebuild.

An event that does not fit what came before it is refused here, whoever made it.
"""

from __future__ import annotations

import functools

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from ..errors import RegistryError
from ..store import (
    AliasRemoved,
    AliasSet,
    BaseAdded,
    BaseRemoved,
    Event,
    NoteSet,
    TagAdded,
    TagRemoved,
    VersionAdded,
    VersionRemoved,
    canonical,
)
from ..store.names import folded
from .schema import AliasRow, BaseRow, ModelRow, TagRow, VersionRow

# Of the commonest event, built once: building a statement takes longer than running it.
_BASE_OF_DIGEST = select(BaseRow.id).where(BaseRow.digest == bindparam("digest"))
_MODEL_OF_NAME = select(ModelRow.id, ModelRow.name, ModelRow.last_number).where(
    ModelRow.folded == bindparam("folded")
)
_COUNT_VERSION = (
    update(ModelRow)
    .where(ModelRow.id == bindparam("model"))
    .values(last_number=bindparam("last_number"), latest=bindparam("latest"))
)


def apply(connection: Connection, event: Event) -> None:
    """Change the rows as `event` says. Raises `RegistryError` for one that does not fit."""
    _apply(event, connection)


@functools.singledispatch
def _apply(event: Event, _connection: Connection) -> None:
    raise TypeError(f"not an event: {type(event).__name__}")


@_apply.register
def _base_added(event: BaseAdded, connection: Connection) -> None:
    place = {
        "manifest": event.manifest,
        "file": event.file,
        "size": event.size,
        "format": event.format,
        "link": event.link,
    }
    known = connection.execute(
        select(BaseRow.id, BaseRow.name, BaseRow.digest).where(
            (BaseRow.folded == folded(event.name)) | (BaseRow.digest == event.digest)
        )
    ).all()
    if not known:
        names = {"name": event.name, "folded": folded(event.name), "digest": event.digest}
        row = {"id": event.sequence, "added": event.time, **names, **place}
        connection.execute(insert(BaseRow), row)
    elif [(name, digest) for _, name, digest in known] == [(event.name, event.digest)]:
        connection.execute(update(BaseRow).where(BaseRow.id == known[0].id).values(**place))
    else:
        raise _misfit(event, f"the base {event.name} stands against {known[0].name}")


@_apply.register
def _base_removed(event: BaseRemoved, connection: Connection) -> None:
    found = connection.execute(delete(BaseRow).where(BaseRow.name == event.name))
    if found.rowcount != 1:
        raise _misfit(event, f"there is no base {event.name}")


@_apply.register
def _version_added(event: VersionAdded, connection: Connection) -> None:
    if connection.execute(_BASE_OF_DIGEST, {"digest": event.base}).first() is None:
        raise _misfit(event, f"{event.model}@{event.number} needs the unknown base {event.base}")
    model = connection.execute(_MODEL_OF_NAME, {"folded": folded(event.model)}).one_or_none()
    last_number = 0 if model is None else model.last_number
    if event.number != last_number + 1 or (model is not None and model.name != event.model):
        raise _misfit(event, f"{event.model}@{event.number} comes after {last_number} versions")
    counted = {"last_number": event.number, "latest": event.number}
    if model is None:
        row = {"id": event.sequence, "name": event.model, "folded": folded(event.model)}
        connection.execute(insert(ModelRow), {**row, **counted})
    else:
        connection.execute(_COUNT_VERSION, {"model": model.id, **counted})
    connection.execute(
        insert(VersionRow),
        {
            "id": event.sequence,
            "model_id": event.sequence if model is None else model.id,
            "number": event.number,
            "container": event.container,
            "size": event.size,
            "base": event.base,
            "source_format": event.source_format,
            "source_sha256": event.source_sha256,
            "source_size": event.source_size,
            "settings": event.settings,
            "summary": canonical.dump(event.summary).decode(),
            "note": event.note,
            "added": event.time,
            "removed": None,
        },
    )


@_apply.register
def _version_removed(event: VersionRemoved, connection: Connection) -> None:
    version, model = _live(connection, event, event.model, event.number)
    if connection.scalar(select(AliasRow.name).where(AliasRow.version_id == version)) is not None:
        raise _misfit(event, f"an alias stands for {event.model}@{event.number}")
    connection.execute(
        update(VersionRow).where(VersionRow.id == version).values(removed=event.time)
    )
    newest = select(func.max(VersionRow.number)).where(
        VersionRow.model_id == model, VersionRow.removed.is_(None)
    )
    connection.execute(
        update(ModelRow).where(ModelRow.id == model).values(latest=newest.scalar_subquery())
    )


@_apply.register
def _alias_set(event: AliasSet, connection: Connection) -> None:
    version, model = _live(connection, event, event.model, event.number)
    this = (AliasRow.model_id == model) & (AliasRow.folded == folded(event.alias))
    values = {"name": event.alias, "version_id": version}
    if connection.execute(update(AliasRow).where(this).values(**values)).rowcount == 0:
        connection.execute(
            insert(AliasRow).values(model_id=model, folded=folded(event.alias), **values)
        )


@_apply.register
def _alias_removed(event: AliasRemoved, connection: Connection) -> None:
    model = select(ModelRow.id).where(ModelRow.name == event.model).scalar_subquery()
    found = connection.execute(
        delete(AliasRow).where(AliasRow.model_id == model, AliasRow.name == event.alias)
    )
    if found.rowcount != 1:
        raise _misfit(event, f"there is no alias {event.model}@{event.alias}")


@_apply.register
def _tag_added(event: TagAdded, connection: Connection) -> None:
    version, _ = _live(connection, event, event.model, event.number)
    tag = folded(event.tag)
    this = (TagRow.version_id == version) & (TagRow.folded == tag)
    if connection.scalar(select(TagRow.name).where(this)) is not None:
        raise _misfit(event, f"{event.model}@{event.number} has the tag {event.tag}")
    connection.execute(insert(TagRow).values(version_id=version, folded=tag, name=event.tag))


@_apply.register
def _tag_removed(event: TagRemoved, connection: Connection) -> None:
    version, _ = _live(connection, event, event.model, event.number)
    found = connection.execute(
        delete(TagRow).where(TagRow.version_id == version, TagRow.name == event.tag)
    )
    if found.rowcount != 1:
        raise _misfit(event, f"{event.model}@{event.number} has no tag {event.tag}")


@_apply.register
def _note_set(event: NoteSet, connection: Connection) -> None:
    version, _ = _live(connection, event, event.model, event.number)
    connection.execute(update(VersionRow).where(VersionRow.id == version).values(note=event.text))


def _live(connection: Connection, event: Event, model: str, number: int) -> tuple[int, int]:
    """The ids of a version that is not removed, and of its model."""
    row = connection.execute(
        select(VersionRow.id, ModelRow.id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(ModelRow.name == model, VersionRow.number == number, VersionRow.removed.is_(None))
    ).one_or_none()
    if row is None:
        raise _misfit(event, f"there is no version {model}@{number}")
    return row[0], row[1]


def _misfit(event: Event, why: str) -> RegistryError:
    return RegistryError(
        f"event {event.sequence} does not fit those before it: {why}",
        "Restore the folder `events` from a copy of the registry.",
    )
