"""Bringing what SQLite's write-ahead log holds into the database file, while nobody can write.

SQLite does so by itself after a commit, when the writer's lock is free again. In all versions up to
3.51.2, but for 3.44.6 and 3.50.7, a checkpoint that starts while another connection commits and
begins the log anew can then skip pages later, and damage the file
(https://www.sqlite.org/wal.html#walresetbug). So every connection has SQLite's own checkpoints
switched off; ours holds the write lock, and no commit can begin the log anew meanwhile. The one at
the closing of the last connection stays: SQLite locks the whole database for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

# Where SQLite would have come by itself: 1000 pages.
LONG = 1000 * 4096

SWITCHED_OFF = (
    "PRAGMA wal_autocheckpoint = 0",
    # A log that begins anew is cut to what it holds, so that its size tells when it is long again.
    "PRAGMA journal_size_limit = 0",
)


def shorten(path: Path) -> None:
    """Checkpoint the database if its log is long. Raises nothing: what was committed is durable.

    Where another program writes, it is left to that one, or to the next.
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
