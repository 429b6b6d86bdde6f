"""Lookup of what a ref, a name or a search means; errors suggest similar names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import InvalidArgument, NotFound
from ..store.event_fields import MAX_NUMBER
from ..store.names import LATEST, check_alias, check_name, folded
from . import queries
from .database import Connection
from .records import (
    AttachmentRecord,
    BaseRecord,
    FoundDigest,
    SignatureRecord,
    VersionRecord,
)
from .suggest import a_few, near, ranges

_FORMS = "Write it as name, name@3, name@alias or name@latest."


@dataclass(frozen=True)
class Ref:
    """A model and one of its versions: by number, by alias, or the latest if both are None."""

    model: str
    number: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.model}@{self.number or self.alias or LATEST}"


def parse_ref(text: str) -> Ref:
    """The ref that `text` spells. Raises `InvalidArgument`."""
    name, at, which = text.partition("@")
    name = check_name("model", name)
    if not at or which == LATEST:
        return Ref(name)
    if not which:
        raise InvalidArgument(f"the ref {text!r} ends with @", _FORMS)
    if not (which.isascii() and which.isdigit()):
        return Ref(name, alias=check_alias(which))
    if which.startswith("0") or len(which) > len(str(MAX_NUMBER)):
        raise InvalidArgument(
            f"{which[:20]} is not a version number: versions count from 1", _FORMS
        )
    return Ref(name, number=int(which))


_DIGEST_PREFIX = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True)
class Model:
    """A model's row."""

    id: int
    name: str
    last_number: int
    latest: int | None


def base(connection: Connection, name: str) -> BaseRecord:
    """The base of that name, or else of that digest or a unique prefix of it (6 digits or more).

    Raises `NotFound`, `InvalidArgument` for a prefix of several digests.
    """
    if found := queries.bases(connection, "name = :name", name=name):
        return found[0]
    if _DIGEST_PREFIX.fullmatch(name):
        start = queries.starting_with(name)
        found = queries.bases(connection, "digest LIKE :start ESCAPE '/'", start=start)
        if len(found) > 1:
            shared = a_few([record.name for record in found])
            raise InvalidArgument(
                f"the digest prefix {name} stands for several bases: {shared}",
                "Write more of it, or the base's name.",
            )
        if found:
            return found[0]
    names = [record.name for record in queries.bases(connection)]
    raise NotFound(
        f"there is no base {name!r}",
        near(name, names, "`dsvd base ls` lists the bases, `dsvd base add` adds one."),
    )


def model(connection: Connection, name: str) -> Model:
    """The model of that name, even if all its versions were removed. Raises `NotFound`."""
    found = twin(connection, name)
    if found is not None and found.name == name:
        return found
    rows = connection.execute("SELECT name FROM models WHERE latest IS NOT NULL")
    names = [row[0] for row in rows]
    raise NotFound(f"there is no model {name!r}", near(name, names, "`dsvd ls` lists them all."))


def twin(connection: Connection, name: str) -> Model | None:
    """The model with this name in any case; None without one."""
    row = connection.execute(
        "SELECT id, name, last_number, latest FROM models WHERE folded = :folded",
        {"folded": folded(check_name("model", name))},
    ).fetchone()
    return None if row is None else Model(*row)


def version(connection: Connection, ref: Ref) -> VersionRecord:
    """The live version that a ref means. Raises `NotFound`."""
    found = model(connection, ref.model)
    if found.latest is None:
        raise NotFound(
            f"every version of {ref.model} was removed", f"`dsvd log {ref.model}` tells when."
        )
    number = ref.number
    if ref.alias is not None:
        number = alias(connection, found, ref.alias)
    number = number or found.latest
    this = "versions.model_id = :model AND versions.number = :number"
    if records := queries.versions(connection, this, queries.LIVE, model=found.id, number=number):
        return records[0]
    numbers = ranges(queries.version_numbers(connection, found.id))
    removed = number <= found.last_number
    raise NotFound(
        f"{found.name}@{number} was removed"
        if removed
        else f"there is no version {found.name}@{number}",
        f"{found.name} has {'versions' if '-' in numbers or ',' in numbers else 'version'} {numbers}.",
    )


def alias(connection: Connection, of: Model, name: str) -> int:
    """The number of the version that an alias stands for. Raises `NotFound`."""
    rows = connection.execute(
        """
        SELECT aliases.name, versions.number
        FROM aliases JOIN versions ON versions.id = aliases.version_id
        WHERE aliases.model_id = :model
        """,
        {"model": of.id},
    )
    numbers: dict[str, int] = dict(rows.fetchall())
    if name in numbers:
        return numbers[name]
    known = [*sorted(numbers, key=folded), LATEST]
    raise NotFound(f"{of.name} has no alias {name!r}", near(name, known, f"It has {a_few(known)}."))


def search(
    connection: Connection,
    pattern: str | None,
    base_name: str | None,
    tag: str | None,
    since: datetime | None,
) -> list[VersionRecord]:
    """The live versions that meet every condition given, newest last. Raises `NotFound`."""
    conditions = [queries.LIVE]
    values: dict[str, str] = {}
    if base_name is not None:
        conditions.append("versions.base = :base")
        values["base"] = base(connection, base_name).digest
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
    return [record for record in found if fnmatch.fnmatchcase(record.model, pattern)]


def history(connection: Connection, name: str) -> list[VersionRecord]:
    """Every version that a model ever had. Raises `NotFound`."""
    found = model(connection, name)
    return queries.versions(connection, "versions.model_id = :model", model=found.id)


def same_source(
    connection: Connection,
    source_sha256: str,
    base_digest: str,
    settings: str | None,
    model_name: str | None,
) -> VersionRecord | None:
    """The newest live version made from the same source, base and, unless None, settings."""
    conditions = [queries.LIVE, "versions.source_sha256 = :source", "versions.base = :base"]
    values = {"source": source_sha256, "base": base_digest}
    if settings is not None:
        conditions.append("versions.settings = :settings")
        values["settings"] = settings
    if model_name is not None:
        conditions.append("models.name = :model")
        values["model"] = model_name
    found = queries.versions(connection, *conditions, **values)
    return found[-1] if found else None


def with_digest(connection: Connection, start: str) -> list[FoundDigest]:
    """The live versions with a digest that begins with these digits, newest last."""
    found = queries.digests_from(connection, start)
    ids = {id for id, *_ in found}
    versions = queries.versions_by_id(connection, ids)
    return [FoundDigest(versions[id], *digest) for id, *digest in sorted(found)]


_THIS = ("models.name = :model", "versions.number = :number")


def signatures(connection: Connection, ref: Ref | None) -> list[SignatureRecord]:
    """The signatures of the live version that a ref means, or of all. Raises `NotFound`."""
    if ref is None:
        return queries.signatures(connection, queries.LIVE)
    found = version(connection, ref)
    return queries.signatures(connection, *_THIS, model=found.model, number=found.number)


def attachments(connection: Connection, ref: Ref | None) -> list[AttachmentRecord]:
    """The attachments of the live version that a ref means, or of all. Raises `NotFound`."""
    if ref is None:
        return queries.attachments(connection, queries.LIVE)
    found = version(connection, ref)
    return queries.attachments(connection, *_THIS, model=found.model, number=found.number)


def metadata(connection: Connection, ref: Ref) -> Mapping[str, str]:
    """The metadata of the live version that a ref means. Raises `NotFound`."""
    found = version(connection, ref)
    entries = queries.metadata(connection, *_THIS, model=found.model, number=found.number)
    return entries.get((found.model, found.number), {})


def metadata_of_all(connection: Connection, key: str) -> Mapping[str, str]:
    """The value of one key for each live version that has it, by the version's ref."""
    found = queries.metadata(connection, queries.LIVE, "metadata.name = :key", key=key)
    return {f"{model}@{number}": entries[key] for (model, number), entries in found.items()}
