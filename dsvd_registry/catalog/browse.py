"""Pages of versions, newest first: what a person sees who looks around, however many there are.

A page takes a fixed number of statements. Only its own rows become records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ..store.names import folded
from . import lookup, queries
from .database import Connection
from .records import AttachmentRecord, VersionRecord

MOST_WORDS = 8
MOST_TAGS = 500


@dataclass(frozen=True)
class Wanted:
    """The versions that are looked for. Every condition that is given must hold.

    `words`: each must occur in the name of the model or base, an alias, a tag, the note or the trigger
    word. `since`: the
    time at or after which they were added. `newest_only`: only the newest version of each model.
    """

    words: tuple[str, ...] = ()
    base: str | None = None
    tag: str | None = None
    since: datetime | None = None
    newest_only: bool = True


@dataclass(frozen=True)
class VersionPage:
    """A page of versions, newest first. `total`: the number of versions on all pages.

    `previews`, `triggers`: the preview and the trigger word of those that have one, by ref.
    """

    versions: tuple[VersionRecord, ...]
    total: int
    previews: Mapping[str, AttachmentRecord]
    triggers: Mapping[str, str]


_WORD = """(
    models.folded LIKE {word} ESCAPE '/'
    OR lower(versions.note) LIKE {word} ESCAPE '/'
    OR versions.base IN (SELECT digest FROM bases WHERE folded LIKE {word} ESCAPE '/')
    OR versions.id IN (SELECT version_id FROM tags WHERE folded LIKE {word} ESCAPE '/')
    OR versions.id IN (SELECT version_id FROM aliases WHERE folded LIKE {word} ESCAPE '/')
    OR versions.id IN (
        SELECT version_id FROM metadata WHERE name = 'trigger' AND lower(value) LIKE {word} ESCAPE '/'
    )
)"""
_FROM = "FROM versions JOIN models ON models.id = versions.model_id WHERE"


def page(connection: Connection, wanted: Wanted, offset: int, limit: int) -> VersionPage:
    """The versions from `offset` on, at most `limit`. Raises `NotFound` for an unknown base."""
    conditions, values = _conditions(connection, wanted)
    where = " AND ".join(conditions)
    counted = connection.execute(f"SELECT count(*) {_FROM} {where}", values).fetchone()
    rows = connection.execute(
        f"SELECT versions.id {_FROM} {where} ORDER BY versions.id DESC LIMIT :limit OFFSET :offset",
        {**values, "limit": limit, "offset": offset},
    ).fetchall()
    shown = f"versions.id IN ({', '.join(str(int(id)) for (id,) in rows) or 'NULL'})"
    previews = queries.attachments(connection, shown, "attachments.role = 'preview'")
    triggers = queries.metadata(connection, shown, "metadata.name = 'trigger'")
    return VersionPage(
        versions=tuple(reversed(queries.versions(connection, shown))),
        total=int(counted[0]),
        previews={f"{one.model}@{one.number}": one for one in previews},
        triggers={f"{model}@{number}": v["trigger"] for (model, number), v in triggers.items()},
    )


def tags(connection: Connection) -> tuple[str, ...]:
    """The tags of live versions, by name, at most 500."""
    rows = connection.execute(
        f"""
        SELECT min(tags.name), tags.folded
        FROM tags JOIN versions ON versions.id = tags.version_id
        WHERE {queries.LIVE} GROUP BY tags.folded ORDER BY tags.folded LIMIT {MOST_TAGS}
        """
    )
    return tuple(str(name) for name, _ in rows)


def _conditions(connection: Connection, wanted: Wanted) -> tuple[list[str], dict[str, object]]:
    conditions, values = [queries.LIVE], dict[str, object]()
    if wanted.newest_only:
        conditions.append("versions.number = models.latest")
    if wanted.base is not None:
        conditions.append("versions.base = :base")
        values["base"] = lookup.base(connection, wanted.base).digest
    if wanted.tag is not None:
        conditions.append("versions.id IN (SELECT version_id FROM tags WHERE folded = :tag)")
        values["tag"] = folded(wanted.tag)
    if wanted.since is not None:
        conditions.append("versions.added >= :since")
        values["since"] = wanted.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for number, word in enumerate(wanted.words[:MOST_WORDS]):
        conditions.append(_WORD.format(word=f":word{number}"))
        values[f"word{number}"] = "%" + queries.starting_with(folded(word))
    return conditions, values
