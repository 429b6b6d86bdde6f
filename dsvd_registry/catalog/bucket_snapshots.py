"""Snapshots of the catalog in a bucket: a new client reads the last one, and the events since.

A snapshot is the SQLite database of a client, without its caches, as one frame of zstd. Its key says of
which event it is and has the SHA-256 of its bytes: `snapshots/000042000-000039500-ab12...`. The number
between is that of the versions that were ever added. Nothing rests on a snapshot: one that is missing,
damaged or of another revision is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from .. import fs, hashing
from ..errors import Conflict, DsvdError, NotFound, RegistryError
from ..store import EventLog, Home, Position
from ..store.backend import Backend, Content
from .migrate import SCHEMA_SHA256, schema_sha256

EVERY = 1000
"""A snapshot is due after so many events, or versions."""
LOOKED_AFTER = 50  # events, between which nobody looks whether one is due
KEPT = 2
CACHES = ("file_fingerprints", "result_listings")
CHUNK = 4 << 20
MOST_TIMES = 64  # how much larger than its frame a database may be

_PREFIX = "snapshots/"
_KEY = re.compile(r"snapshots/(\d{9})-(\d{9})-([0-9a-f]{64})")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot in the bucket: the last event that it shows, its versions, the digest of its bytes."""

    sequence: int
    versions: int
    sha256: str

    @property
    def key(self) -> str:
        """Its key."""
        return f"{_PREFIX}{self.sequence:09}-{self.versions:09}-{self.sha256}"


def snapshots(backend: Backend) -> list[Snapshot]:
    """The snapshots that are there, the last one first. Raises `StorageError`."""
    matches = (_KEY.fullmatch(entry.key) for entry in backend.list(_PREFIX))
    found = [Snapshot(int(m[1]), int(m[2]), m[3]) for m in matches if m is not None]
    return found[::-1]


def begin_with_one(home: Home) -> None:
    """Give a client that has no catalog yet that of the last snapshot that can be used.

    Raises `StorageError`, of the bucket or of this machine.
    """
    if home.catalog.exists():
        return
    fs.make_folder(home.tmp)
    for snapshot in snapshots(home.backend):
        with (
            contextlib.suppress(NotFound, RegistryError, sqlite3.Error),
            fs.new_file(home.tmp) as file,
        ):
            _fetch(home, snapshot, file)
            file.flush()
            _check(file.path, snapshot, EventLog(home))
            with contextlib.suppress(Conflict):  # another program was faster
                file.publish(home.catalog)
            return


def keep_if_due(home: Home, written: Position, changes: int) -> None:
    """Put a snapshot into the bucket if one is due after an event of so many changes.

    Raises nothing: the event is written, and the next one that looks tries again.
    """
    if written.sequence % LOOKED_AFTER and changes < LOOKED_AFTER:
        return
    with contextlib.suppress(DsvdError, sqlite3.Error):
        found = snapshots(home.backend)
        last = found[0] if found else Snapshot(0, 0, "")
        with contextlib.closing(sqlite3.connect(home.catalog)) as catalog:
            sequence, versions = _counts(catalog)
        if max(sequence - last.sequence, versions - last.versions) < EVERY:
            return
        fs.make_folder(home.tmp)
        with fs.new_file(home.tmp) as file:
            sequence, versions = _copy(home.catalog, file.path)
            made = _put(home.backend, file.path, sequence, versions)
        for old in [one for one in found if one.sequence < made.sequence][KEPT - 1 :]:
            home.backend.delete(old.key)


def _copy(catalog: Path, copy: Path) -> tuple[int, int]:
    """Copy a database without its caches; gives the number of its last event, and of its versions."""
    with (
        contextlib.closing(sqlite3.connect(catalog)) as source,
        contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target,
    ):
        source.backup(target)
        for table in CACHES:  # they tell of this machine
            target.execute(f"DELETE FROM {table}")
        target.execute("PRAGMA journal_mode = DELETE")
        target.execute("VACUUM")
        return _counts(target)


def _counts(database: sqlite3.Connection) -> tuple[int, int]:
    """The number of the last event, and of the versions."""
    (sequence,) = database.execute("SELECT position FROM log_position").fetchone()
    (versions,) = database.execute("SELECT coalesce(max(id), 0) FROM versions").fetchone()
    return sequence, versions


def _put(backend: Backend, database: Path, sequence: int, versions: int) -> Snapshot:
    import zstandard

    digest = hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=3).compressobj(size=database.stat().st_size)
    with backend.new_content() as content:
        for chunk in hashing.file_chunks(database):
            _write(content, compressor.compress(bytes(chunk)), digest)
        _write(content, compressor.flush(), digest)
        made = Snapshot(sequence, versions, digest.hexdigest())
        content.publish(made.key)
    return made


def _write(content: Content, data: bytes, digest: hashlib._Hash) -> None:
    digest.update(data)
    content.write(data)


def _fetch(home: Home, snapshot: Snapshot, file: fs.NewFile) -> None:
    """Write the database of a snapshot to a file. Raises `RegistryError` for other bytes."""
    import zstandard

    digest, size, written = hashlib.sha256(), 0, 0
    with fs.scratch_file(home.tmp) as frame:
        with (
            contextlib.closing(home.files.chunks(snapshot.key)) as chunks,
            fs.storage_errors(home.tmp),
        ):
            for chunk in chunks:
                digest.update(chunk)
                size += frame.write(chunk)
            frame.seek(0)
        if digest.hexdigest() != snapshot.sha256:
            raise RegistryError(f"{snapshot.key} is damaged: its bytes have another SHA-256")
        try:
            with zstandard.ZstdDecompressor().stream_reader(frame, closefd=False) as database:
                while data := database.read(CHUNK):
                    written += len(data)
                    if written > MOST_TIMES * size + CHUNK:
                        raise RegistryError(f"{snapshot.key} becomes too large")
                    file.write(data)
        except zstandard.ZstdError as error:
            raise RegistryError(f"{snapshot.key} is damaged: {error}") from error


def _check(database: Path, snapshot: Snapshot, log: EventLog) -> None:
    """Raise `RegistryError` unless it has our tables and shows an event of this log."""
    with contextlib.closing(
        sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)
    ) as opened:
        if schema_sha256(opened) != SCHEMA_SHA256:
            raise RegistryError(f"{snapshot.key} has other tables")
        rows = opened.execute("SELECT position, sha256 FROM log_position").fetchall()
    shown = [Position(*row) for row in rows if row[0] == snapshot.sequence]
    if len(rows) != 1 or not shown or not log.has(shown[0]):
        raise RegistryError(f"{snapshot.key} does not show this event log")
