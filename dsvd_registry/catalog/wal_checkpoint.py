"""Checkpoints of SQLite: the content of its write-ahead log is moved into the database file.

SQLite does this by itself after a commit, when the writer's lock is free again. In all versions up to
3.51.2, except 3.44.6 and 3.50.7, a checkpoint that starts while another connection commits and resets
the log can later skip pages and damage the file (https://www.sqlite.org/wal.html#walresetbug). So
every connection has SQLite's own checkpoints switched off. Those of this module have the write lock,
and no commit can reset the log meanwhile. The checkpoint at the closing of the last connection stays:
SQLite locks the whole database for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

# The length at which SQLite itself makes a checkpoint: 1000 pages.
LONG = 1000 * 4096

SWITCHED_OFF = (
    "PRAGMA wal_autocheckpoint = 0",
    # A reset log is truncated, so that its size shows when it is long again.
    "PRAGMA journal_size_limit = 0",
)


def shorten(path: Path) -> None:
    """Make a checkpoint if the log is long. Raises nothing, because every commit is durable already.

    If another program is writing, the checkpoint is left to that program or a later one.
    """
    with contextlib.suppress(OSError, sqlite3.Error):
        if path.with_name(f"{path.name}-wal").stat().st_size < LONG:
            return
        with (
            contextlib.closing(_connect(path)) as lock,
            contextlib.closing(_connect(path)) as worker,
        ):
            lock.execute("BEGIN IMMEDIATE")
            worker.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            lock.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA synchronous = FULL")
    for pragma in SWITCHED_OFF:
        connection.execute(pragma)
    return connection
