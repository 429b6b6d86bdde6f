"""The cache of the files that a full checkpoint has. No event records it: its loss costs time alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .database import Connection

Key = tuple[str, str]
"""The digest of an object, and the form of the full checkpoint as text."""

FEW = 64  # listings that are looked up one by one, and not by reading all of their form


def recall(connection: Connection, keys: set[Key]) -> dict[Key, str]:
    """The known listings of these keys."""
    if len(keys) > FEW:
        return {
            key: text for key, text in _of_forms(connection, {f for _, f in keys}) if key in keys
        }
    found = {}
    for key in keys:
        row = connection.execute(
            "SELECT listing FROM result_listings WHERE object = :object AND form = :form",
            _columns(key),
        ).fetchone()
        if row is not None:
            found[key] = str(row[0])
    return found


def remember(connection: Connection, listings: Mapping[Key, str]) -> None:
    """Cache listings; that of a key never changes."""
    for key, listing in listings.items():
        columns = _columns(key)
        connection.execute(
            "DELETE FROM result_listings WHERE object = :object AND form = :form", columns
        )
        connection.execute(
            "INSERT INTO result_listings (object, form, listing) VALUES (:object, :form, :listing)",
            {**columns, "listing": listing},
        )


def _of_forms(connection: Connection, forms: set[str]) -> Iterator[tuple[Key, str]]:
    for form in forms:
        for of, listing in connection.execute(
            "SELECT object, listing FROM result_listings WHERE form = :form", {"form": form}
        ):
            yield (of, form), listing


def _columns(key: Key) -> dict[str, object]:
    return {"object": key[0], "form": key[1]}
