"""The caches of the catalog: digests of files, listings of results.

No event records them: their loss costs time and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ..hashing import sha256
from .database import Connection
from .records import CachedFingerprint, FileState


def recall_fingerprint(connection: Connection, state: FileState) -> CachedFingerprint | None:
    """The cached fingerprint of a file in this state; None if it is not known."""
    row = connection.execute(
        """
        SELECT sha256, content FROM file_fingerprints
        WHERE path_sha256 = :path_sha256 AND size = :size AND mtime_ns = :mtime_ns AND inode = :inode
        """,
        _fingerprint_columns(state),
    ).fetchone()
    return None if row is None else CachedFingerprint(*row)


def remember_fingerprint(
    connection: Connection, state: FileState, fingerprint: CachedFingerprint
) -> None:
    """Cache the fingerprint of a file, in place of an earlier one."""
    columns = _fingerprint_columns(state)
    connection.execute("DELETE FROM file_fingerprints WHERE path_sha256 = :path_sha256", columns)
    connection.execute(
        """
        INSERT INTO file_fingerprints (path_sha256, size, mtime_ns, inode, sha256, content)
        VALUES (:path_sha256, :size, :mtime_ns, :inode, :sha256, :content)
        """,
        {**columns, "sha256": fingerprint.sha256, "content": fingerprint.content},
    )


def _fingerprint_columns(state: FileState) -> dict[str, object]:
    return {
        "path_sha256": sha256(os.fsencode(state.path)),
        "size": state.size,
        "mtime_ns": state.mtime_ns,
        "inode": str(state.inode),
    }


Key = tuple[str, str]
"""The digest of an object, and the form of the full checkpoint as text."""

FEW = 64  # listings that are looked up one by one, and not by reading all of their form


def recall_listings(connection: Connection, keys: set[Key]) -> dict[Key, str]:
    """The known listings of these keys."""
    if len(keys) > FEW:
        return {
            key: text for key, text in _of_forms(connection, {f for _, f in keys}) if key in keys
        }
    found = {}
    for key in keys:
        row = connection.execute(
            "SELECT listing FROM result_listings WHERE object = :object AND form = :form",
            _listing_columns(key),
        ).fetchone()
        if row is not None:
            found[key] = str(row[0])
    return found


def remember_listings(connection: Connection, listings: Mapping[Key, str]) -> None:
    """Cache listings; that of a key never changes."""
    for key, listing in listings.items():
        columns = _listing_columns(key)
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


def _listing_columns(key: Key) -> dict[str, object]:
    return {"object": key[0], "form": key[1]}
