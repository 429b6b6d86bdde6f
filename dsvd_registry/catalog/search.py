"""Searches for versions."""

from __future__ import annotations

import fnmatch
import re
from datetime import UTC, datetime

from ..store.names import folded
from . import lookup, queries
from .database import Connection
from .records import VersionRecord


def versions(
    connection: Connection,
    pattern: str | None,
    base: str | None,
    tag: str | None,
    since: datetime | None,
) -> list[VersionRecord]:
    """The live versions that meet every condition given, newest last. Raises `NotFound`."""
    conditions = [queries.LIVE]
    values: dict[str, str] = {}
    if base is not None:
        conditions.append("versions.base = :base")
        values["base"] = lookup.base(connection, base).digest
    if tag is not None:
        conditions.append("versions.id IN (SELECT version_id FROM tags WHERE folded = :tag)")
        values["tag"] = folded(tag)
    if since is not None:
        conditions.append("versions.added >= :since")
        values["since"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if pattern is None:
        return queries.versions(connection, *conditions, **values)
    start = re.split(r"[*?[]", pattern)[0]
    if start == pattern:
        conditions.append("models.name = :model")
        return queries.versions(connection, *conditions, **values, model=pattern)
    # Databases differ in their pattern operators and in their treatment of case, so the query uses
    # only the literal start of the pattern, to read fewer rows.
    conditions.append("models.name LIKE :start ESCAPE '/'")
    values["start"] = queries.starting_with(start)
    found = queries.versions(connection, *conditions, **values)
    return [version for version in found if fnmatch.fnmatchcase(version.model, pattern)]


def history(connection: Connection, model: str) -> list[VersionRecord]:
    """Every version that a model ever had. Raises `NotFound`."""
    found = lookup.model(connection, model)
    return queries.versions(connection, "versions.model_id = :model", model=found.id)


def same(
    connection: Connection, source_sha256: str, base: str, settings: str | None, model: str | None
) -> VersionRecord | None:
    """The newest live version made from the same source, base and, unless None, settings."""
    conditions = [queries.LIVE, "versions.source_sha256 = :source", "versions.base = :base"]
    values = {"source": source_sha256, "base": base}
    if settings is not None:
        conditions.append("versions.settings = :settings")
        values["settings"] = settings
    if model is not None:
        conditions.append("models.name = :model")
        values["model"] = model
    found = queries.versions(connection, *conditions, **values)
    return found[-1] if found else None
