"""The cache of what files hold. It belongs to no event: losing it costs time, nothing else."""

from __future__ import annotations

import os

from sqlalchemy import Connection, delete, insert, select

from .records import CachedFingerprint, FileState
from .schema import FingerprintRow


def recall(connection: Connection, state: FileState) -> CachedFingerprint | None:
    """What the file held when it was in this state, None if that is not known."""
    row = connection.execute(
        select(FingerprintRow.sha256, FingerprintRow.content).where(
            FingerprintRow.path == _key(state),
            FingerprintRow.size == state.size,
            FingerprintRow.mtime_ns == state.mtime_ns,
            FingerprintRow.inode == str(state.inode),
        )
    ).one_or_none()
    return None if row is None else CachedFingerprint(row[0], row[1])


def remember(connection: Connection, state: FileState, fingerprint: CachedFingerprint) -> None:
    """Keep what a file holds, in place of what it held before."""
    connection.execute(delete(FingerprintRow).where(FingerprintRow.path == _key(state)))
    connection.execute(
        insert(FingerprintRow).values(
            path=_key(state),
            size=state.size,
            mtime_ns=state.mtime_ns,
            inode=str(state.inode),
            sha256=fingerprint.sha256,
            content=fingerprint.content,
        )
    )


def _key(state: FileState) -> str:
    # A path need not be Unicode, a column must be.
    return os.fsencode(state.path).decode("utf-8", "backslashreplace")
