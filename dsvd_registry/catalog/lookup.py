"""Lookup of bases, models, versions and aliases by name; errors suggest similar names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidArgument, NotFound
from ..store.names import LATEST, check_name, folded
from . import queries
from .database import Connection
from .records import BaseRecord, VersionRecord
from .refs import Ref
from .suggest import a_few, near, ranges

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
