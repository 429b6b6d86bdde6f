"""Reads that choose among versions."""

from __future__ import annotations

import fnmatch
import re
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, select

from ..store.names import folded
from . import lookup, queries
from .records import VersionRecord
from .schema import ModelRow, TagRow, VersionRow


def versions(
    connection: Connection,
    pattern: str | None,
    base: str | None,
    tag: str | None,
    since: datetime | None,
) -> list[VersionRecord]:
    """The live versions that meet every condition given, newest last. Raises `NotFound`."""
    conditions: list[ColumnElement[bool]] = [queries.LIVE]
    if base is not None:
        conditions.append(VersionRow.base == lookup.base(connection, base).digest)
    if tag is not None:
        tagged = select(TagRow.version_id).where(TagRow.folded == folded(tag))
        conditions.append(VersionRow.id.in_(tagged))
    if since is not None:
        start = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        conditions.append(VersionRow.added >= start)
    if pattern is None:
        return queries.versions(connection, *conditions)
    # Databases differ in their pattern operators and in what they do with case: they get the
    # literal start of the pattern, to read less.
    conditions.append(ModelRow.name.startswith(re.split(r"[*?[]", pattern)[0], autoescape=True))
    found = queries.versions(connection, *conditions)
    return [version for version in found if fnmatch.fnmatchcase(version.model, pattern)]


def history(connection: Connection, model: str) -> list[VersionRecord]:
    """Every version a model ever had. Raises `NotFound`."""
    found = lookup.model(connection, model)
    return queries.versions(connection, VersionRow.model_id == found.id)


def same(
    connection: Connection, source_sha256: str, base: str, settings: str, model: str | None
) -> VersionRecord | None:
    """The newest live version made of the same source, base and settings."""
    conditions = [
        queries.LIVE,
        VersionRow.source_sha256 == source_sha256,
        VersionRow.base == base,
        VersionRow.settings == settings,
    ]
    if model is not None:
        conditions.append(ModelRow.name == model)
    found = queries.versions(connection, *conditions)
    return found[-1] if found else None
