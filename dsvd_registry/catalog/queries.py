"""Queries that return records. Each function runs a fixed number of statements for any number of rows.

Conditions are SQL about the columns of the tables, with parameters such as `:name`, whose values are
passed by name. They are written only in this package: the text of a user is always a value.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..hashing import sha256
from ..store import StoredObject
from ..store.names import LATEST
from .database import Connection
from .errors import DamagedCatalogError
from .records import (
    ArchivedFile,
    AttachmentRecord,
    BaseRecord,
    ModelRecord,
    ResidualRecord,
    SignatureRecord,
    Source,
    VersionRecord,
)

LIVE = "versions.removed IS NULL"

_VERSIONS = """
    SELECT versions.id, models.name, versions.number, versions.container, versions.size,
        versions.base, versions.source_format, versions.source_sha256, versions.source_size,
        versions.settings, versions.note, models.latest, versions.added, versions.removed,
        versions.residual, versions.residual_size, versions.original, versions.summary
    FROM versions JOIN models ON models.id = versions.model_id
    WHERE {conditions}
    ORDER BY versions.id
"""
_LABELS = """
    SELECT {labels}.version_id, {labels}.name
    FROM {labels} JOIN versions ON versions.id = {labels}.version_id
        JOIN models ON models.id = versions.model_id
    WHERE {conditions}
    ORDER BY {labels}.folded
"""


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise `DamagedCatalogError` for a row that is not a valid record, which SQLite cannot detect."""
    try:
        yield
    except UnicodeEncodeError:
        raise  # caused by an argument, not by a row
    except (TypeError, ValueError) as error:
        raise DamagedCatalogError(f"a row of the catalog cannot be read: {error}") from error


@_readable()
def bases(connection: Connection, *conditions: str, **values: str) -> list[BaseRecord]:
    """The bases that meet the conditions, by name."""
    rows = connection.execute(
        f"""
        SELECT name, digest, manifest, file, size, format, link, added FROM bases
        WHERE {_all(conditions)} ORDER BY folded
        """,
        values,
    )
    return [
        BaseRecord(
            name=name,
            digest=digest,
            manifest=manifest,
            file=file,
            size=size,
            format=format,
            link=None if link is None else Path(link),
            added=datetime.fromisoformat(added),
        )
        for name, digest, manifest, file, size, format, link, added in rows
    ]


def models(connection: Connection) -> list[ModelRecord]:
    """Every model that ever existed, by name."""
    rows = connection.execute(
        f"""
        SELECT models.name, count(versions.id), models.last_number, models.latest
        FROM models LEFT JOIN versions ON versions.model_id = models.id AND {LIVE}
        GROUP BY models.id, models.name, models.last_number, models.latest, models.folded
        ORDER BY models.folded
        """
    )
    return [ModelRecord(*row) for row in rows]


@_readable()
def versions(connection: Connection, *conditions: str, **values: str | int) -> list[VersionRecord]:
    """The versions that meet the conditions (on versions and models), removed ones too, in the
    order in which they were added.
    """
    where = _all(conditions)
    rows = connection.execute(_VERSIONS.format(conditions=where), values).fetchall()
    if not rows:
        return []
    # Small tables are read once: a join would look up their rows again for each version.
    labels = _Labels(
        dict(connection.execute("SELECT digest, name FROM bases").fetchall()),
        _labels(connection, _LABELS.format(labels="tags", conditions=where), values),
        _labels(connection, _LABELS.format(labels="aliases", conditions=where), values),
    )
    # All summaries are parsed as one text: one by one they take twice as long.
    summaries = json.loads(f"[{','.join(row[-1] for row in rows)}]")
    return [_version(row, summary, labels) for row, summary in zip(rows, summaries, strict=True)]


@_readable()
def signatures(
    connection: Connection, *conditions: str, **values: str | int
) -> list[SignatureRecord]:
    """The signatures of the versions that meet the conditions, by version, oldest first."""
    rows = connection.execute(
        f"""
        SELECT models.name, versions.number, signatures.signer, signatures.signature,
            signatures.added
        FROM signatures JOIN versions ON versions.id = signatures.version_id
            JOIN models ON models.id = versions.model_id
        WHERE {_all(conditions)}
        ORDER BY versions.id, signatures.added, signatures.signer
        """,
        values,
    )
    return [
        SignatureRecord(model, number, signer, signature, datetime.fromisoformat(added))
        for model, number, signer, signature, added in rows
    ]


@_readable()
def metadata(
    connection: Connection, *conditions: str, **values: str | int
) -> dict[tuple[str, int], dict[str, str]]:
    """The metadata entries that meet the conditions, by model and number; the keys are sorted."""
    rows = connection.execute(
        f"""
        SELECT models.name, versions.number, metadata.name, metadata.value
        FROM metadata JOIN versions ON versions.id = metadata.version_id
            JOIN models ON models.id = versions.model_id
        WHERE {_all(conditions)}
        """,
        values,
    )
    found: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    # Sorted here, because databases differ in how they order texts.
    for model, number, key, value in sorted(map(tuple, rows)):
        found[model, number][key] = value
    return dict(found)


@_readable()
def attachments(
    connection: Connection, *conditions: str, **values: str | int
) -> list[AttachmentRecord]:
    """The attachments of the versions that meet the conditions, by version, oldest first."""
    rows = connection.execute(
        f"""
        SELECT models.name, versions.number, attachments.name, attachments.role,
            attachments.media_type, attachments.object, attachments.size, attachments.added
        FROM attachments JOIN versions ON versions.id = attachments.version_id
            JOIN models ON models.id = versions.model_id
        WHERE {_all(conditions)}
        ORDER BY versions.id, attachments.id
        """,
        values,
    )
    return [
        AttachmentRecord(
            model=model,
            number=number,
            name=name,
            role=role,
            media_type=media_type,
            sha256=sha256,
            size=size,
            added=datetime.fromisoformat(added),
        )
        for model, number, name, role, media_type, sha256, size, added in rows
    ]


@_readable()
def archived_files(
    connection: Connection, *conditions: str, **values: str | int
) -> list[ArchivedFile]:
    """The archived files that meet the conditions (on them, versions and models), by path."""
    rows = connection.execute(
        f"""
        SELECT archived_files.path, models.name, versions.number, archived_files.mtime_ns,
            archived_files.mode, archived_files.link
        FROM archived_files JOIN versions ON versions.id = archived_files.version_id
            JOIN models ON models.id = versions.model_id
        WHERE {_all(conditions)}
        ORDER BY archived_files.path
        """,
        values,
    )
    return [
        ArchivedFile(
            Path(path), model, number, mtime_ns, mode, None if link is None else Path(link)
        )
        for path, model, number, mtime_ns, mode, link in rows
    ]


def archived_file(connection: Connection, path: str) -> list[ArchivedFile]:
    """The archived file of this path, or none."""
    key = sha256(path.encode())
    return archived_files(connection, "archived_files.path_sha256 = :key", key=key)


def digests_from(connection: Connection, start: str) -> list[tuple[int, str, str, str, str]]:
    """The digests of live versions that begin with `start`: id, part, path, kind, digest."""
    # "g" comes after every digit, so this is a range of each index.
    values = {"low": start, "high": start + "g"}
    found = set()
    for part, column in (
        ("source", "source_sha256"),
        ("container", "container"),
        ("residual", "residual"),
    ):
        found |= {
            (id, part, "", "sha256", digest)
            for id, digest in connection.execute(
                f"SELECT id, {column} FROM versions"
                f" WHERE {column} >= :low AND {column} < :high AND {LIVE}",
                values,
            )
        }
    rows = connection.execute(
        f"""
        SELECT digests.version_id, digests.part, digests.path, digests.kind, digests.digest
        FROM digests JOIN versions ON versions.id = digests.version_id
        WHERE digests.digest >= :low AND digests.digest < :high AND {LIVE}
        """,
        values,
    )
    return list(found | {tuple(row) for row in rows})


def versions_by_id(connection: Connection, ids: set[int]) -> dict[int, VersionRecord]:
    """The versions of these ids."""
    these = f"versions.id IN ({', '.join(map(str, sorted(ids)))})"
    return dict(zip(sorted(ids), versions(connection, these), strict=True)) if ids else {}


def result_digests(connection: Connection, container: str) -> dict[str, dict[str, str]]:
    """The digests of the files of the result of a container, by path and kind."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path, kind, digest in connection.execute(
        """
        SELECT digests.path, digests.kind, digests.digest
        FROM digests JOIN versions ON versions.id = digests.version_id
        WHERE versions.container = :container AND digests.part = 'result'
        """,
        {"container": container},
    ):
        found[path][kind] = digest
    return found


def recorded_digests(
    connection: Connection, *conditions: str, **values: str | int
) -> dict[tuple[str, int], dict[str, dict[str, dict[str, str]]]]:
    """The digests of the versions that meet the conditions, by model and number, part, path and kind."""
    rows = connection.execute(
        f"""
        SELECT models.name, versions.number, digests.part, digests.path, digests.kind, digests.digest
        FROM digests JOIN versions ON versions.id = digests.version_id
            JOIN models ON models.id = versions.model_id
        WHERE {_all(conditions)}
        """,
        values,
    )
    found: dict[tuple[str, int], dict[str, dict[str, dict[str, str]]]] = defaultdict(dict)
    for model, number, part, path, kind, digest in rows:
        found[model, number].setdefault(part, {}).setdefault(path, {})[kind] = digest
    return dict(found)


def version_numbers(connection: Connection, model_id: int) -> list[int]:
    """The numbers of a model's live versions, ascending."""
    statement = f"SELECT number FROM versions WHERE model_id = :model AND {LIVE} ORDER BY number"
    return [number for (number,) in connection.execute(statement, {"model": model_id})]


def referenced_objects(connection: Connection) -> set[str]:
    """The objects that live versions and bases need. A linked base's file is no object."""
    rows = connection.execute(
        f"""
        SELECT container FROM versions WHERE {LIVE}
        UNION SELECT residual FROM versions WHERE {LIVE} AND residual IS NOT NULL
        UNION SELECT original FROM versions WHERE {LIVE} AND original IS NOT NULL
        UNION SELECT manifest FROM bases
        UNION SELECT file FROM bases WHERE link IS NULL
        UNION SELECT signatures.signature
        FROM signatures JOIN versions ON versions.id = signatures.version_id WHERE {LIVE}
        UNION SELECT attachments.object
        FROM attachments JOIN versions ON versions.id = attachments.version_id WHERE {LIVE}
        """
    )
    return {sha256 for (sha256,) in rows}


def starting_with(text: str) -> str:
    """The pattern of `LIKE ... ESCAPE '/'` for values that start with `text`."""
    for sign in "/%_":
        text = text.replace(sign, "/" + sign)
    return text + "%"


def _all(conditions: tuple[str, ...]) -> str:
    return " AND ".join(conditions) or "1 = 1"


@dataclass(frozen=True)
class _Labels:
    """Rows of other tables that versions need: names of bases by digest, tags and aliases by version."""

    base_names: Mapping[str, str]
    tags: Mapping[int, list[str]]
    aliases: Mapping[int, list[str]]


def _labels(
    connection: Connection, statement: str, values: Mapping[str, str | int]
) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for version, name in connection.execute(statement, values):
        found[version].append(name)
    return found


def _version(row: Any, summary: dict[str, int | float | str], labels: _Labels) -> VersionRecord:
    (
        id,
        model,
        number,
        container,
        size,
        base,
        source_format,
        source_sha256,
        source_size,
        settings,
        note,
        latest,
        added,
        removed,
        residual,
        residual_size,
        original,
        _,
    ) = row
    aliases = labels.aliases.get(id, ())
    return VersionRecord(
        model=model,
        number=number,
        container=container,
        size=size,
        base=base,
        base_name=labels.base_names.get(base),
        source=Source(source_format, source_sha256, source_size),
        settings=settings,
        summary=summary,
        note=note,
        tags=tuple(labels.tags.get(id, ())),
        aliases=(LATEST, *aliases) if number == latest else tuple(aliases),
        added=datetime.fromisoformat(added),
        removed=None if removed is None else datetime.fromisoformat(removed),
        residual=None if residual is None else ResidualRecord(residual, residual_size),
        original=None if original is None else StoredObject(original, source_size),
    )
