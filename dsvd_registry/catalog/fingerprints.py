"""The cache of the digests of files. No event records it: its loss costs time and nothing else."""

from __future__ import annotations

import os

from .database import Connection
from .records import CachedFingerprint, FileState


def recall(connection: Connection, state: FileState) -> CachedFingerprint | None:
    """The cached fingerprint of a file in this state; None if it is not known."""
    row = connection.execute(
        """
        SELECT sha256, content FROM file_fingerprints
        WHERE path = :path AND size = :size AND mtime_ns = :mtime_ns AND inode = :inode
        """,
        _columns(state),
    ).fetchone()
    return None if row is None else CachedFingerprint(*row)


def remember(connection: Connection, state: FileState, fingerprint: CachedFingerprint) -> None:
    """Cache the fingerprint of a file, in place of an earlier one."""
    columns = _columns(state)
    connection.execute("DELETE FROM file_fingerprints WHERE path = :path", columns)
    connection.execute(
        """
        INSERT INTO file_fingerprints (path, size, mtime_ns, inode, sha256, content)
        VALUES (:path, :size, :mtime_ns, :inode, :sha256, :content)
        """,
        {**columns, "sha256": fingerprint.sha256, "content": fingerprint.content},
    )


def _columns(state: FileState) -> dict[str, object]:
    return {
        # A path may be any bytes, but a column must be Unicode.
        "path": os.fsencode(state.path).decode("utf-8", "backslashreplace"),
        "size": state.size,
        "mtime_ns": state.mtime_ns,
        "inode": str(state.inode),
    }
