"""Rows into records. Each function is a fixed number of statements, however many rows there are."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from ..store.names import LATEST
from .records import BaseRecord, ModelRecord, Source, VersionRecord
from .schema import AliasRow, BaseRow, ModelRow, TagRow, VersionRow

LIVE = VersionRow.removed.is_(None)


def bases(connection: Connection, *conditions: ColumnElement[bool]) -> list[BaseRecord]:
    """The bases that meet the conditions, by name."""
    columns = BaseRow.__table__.c
    rows = connection.execute(select(*columns).where(*conditions).order_by(BaseRow.folded))
    return [
        BaseRecord(
            name=row.name,
            digest=row.digest,
            manifest=row.manifest,
            file=row.file,
            size=row.size,
            format=row.format,
            link=None if row.link is None else Path(row.link),
            added=datetime.fromisoformat(row.added),
        )
        for row in rows
    ]


def models(connection: Connection) -> list[ModelRecord]:
    """Every model ever, by name."""
    rows = connection.execute(
        select(ModelRow.name, func.count(VersionRow.id), ModelRow.last_number, ModelRow.latest)
        .outerjoin(VersionRow, (VersionRow.model_id == ModelRow.id) & LIVE)
        .group_by(ModelRow.id)
        .order_by(ModelRow.folded)
    )
    return [ModelRecord(name, count, last, latest) for name, count, last, latest in rows]


def versions(connection: Connection, *conditions: ColumnElement[bool]) -> list[VersionRecord]:
    """The versions that meet the conditions (on versions and models), removed ones too, in the
    order in which they were added.
    """
    rows = connection.execute(
        select(
            *VersionRow.__table__.c,
            ModelRow.name.label("model"),
            ModelRow.latest,
            BaseRow.name.label("base_name"),
        )
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .outerjoin(BaseRow, BaseRow.digest == VersionRow.base)
        .where(*conditions)
        .order_by(VersionRow.id)
    ).all()
    chosen = (
        select(VersionRow.id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(*conditions)
        .scalar_subquery()
    )
    tags: dict[int, list[str]] = defaultdict(list)
    aliases: dict[int, list[str]] = defaultdict(list)
    if rows:
        for table, found in ((TagRow, tags), (AliasRow, aliases)):
            statement = select(table.version_id, table.name).where(table.version_id.in_(chosen))
            for version, name in connection.execute(statement.order_by(table.folded)):
                found[version].append(name)
    return [_version(row, tags[row.id], aliases[row.id]) for row in rows]


def version_numbers(connection: Connection, model_id: int) -> list[int]:
    """The numbers of a model's live versions, ascending."""
    statement = select(VersionRow.number).where(VersionRow.model_id == model_id, LIVE)
    return list(connection.scalars(statement.order_by(VersionRow.number)))


def referenced_objects(connection: Connection) -> set[str]:
    """The objects that live versions and bases need. A linked base's file is no object."""
    return {
        *connection.scalars(select(VersionRow.container).where(LIVE)),
        *connection.scalars(select(BaseRow.manifest)),
        *connection.scalars(select(BaseRow.file).where(BaseRow.link.is_(None))),
    }


def _version(row: Any, tags: list[str], aliases: list[str]) -> VersionRecord:
    if row.number == row.latest:
        aliases = [LATEST, *aliases]
    return VersionRecord(
        model=row.model,
        number=row.number,
        container=row.container,
        size=row.size,
        base=row.base,
        base_name=row.base_name,
        source=Source(row.source_format, row.source_sha256, row.source_size),
        settings=row.settings,
        summary=json.loads(row.summary),
        note=row.note,
        tags=tuple(tags),
        aliases=tuple(aliases),
        added=datetime.fromisoformat(row.added),
        removed=None if row.removed is None else datetime.fromisoformat(row.removed),
    )
