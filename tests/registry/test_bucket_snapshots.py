"""Snapshots of the catalog in a bucket: what a new client reads, and what it does with a bad one."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from seaweed import Seaweed
from wire import Wire, wire

from dsvd_registry import Registry
from dsvd_registry.catalog import FileState, Source, bucket_snapshots, migrate
from dsvd_registry.catalog.records import CachedFingerprint
from dsvd_registry.store.backend import Backend

Client = Callable[[str], Registry]
EVENT = re.compile(r"GET /\S*/events/\d{6}/(\d{9})\.json")


@pytest.fixture
def client(bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Opens the registry, made if it is not there, as a machine of that name does."""
    monkeypatch.setattr(bucket_snapshots, "EVERY", 10)
    monkeypatch.setattr(bucket_snapshots, "LOOKED_AFTER", 5)
    opened = []
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "maker"))
    Registry.init(bucket_url).close()

    def open_as(name: str) -> Registry:
        monkeypatch.setenv("DSVD_CACHE", str(tmp_path / name))
        opened.append(Registry.open(bucket_url))
        return opened[-1]

    yield open_as
    for one in opened:
        one.close()


def write(registry: Registry, versions: int) -> None:
    """Events of versions and labels, three for each version; the first of all is that of the base."""
    catalog = registry.repository.catalog
    if not catalog.bases():
        catalog.add_base(
            "sd15", digest="b" * 64, manifest="1" * 64, file="2" * 64, size=4, format="safetensors"
        )
    for _ in range(versions):
        number = len(catalog.versions()) + 1
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        catalog.add_version(
            f"subject-{number % 3}", container=digest, size=number, base="b" * 64,
            source=Source("safetensors", digest, 100), settings='{"tau":0.5}', summary={"tau": 0.5},
            digests={"source": {"": {"sha256": digest, "crc32": digest[:8]}}},
        )  # fmt: skip
        catalog.add_tag(f"subject-{number % 3}", (number + 2) // 3, "seen")
        catalog.set_alias(f"subject-{number % 3}", "best", (number + 2) // 3)


def shown(registry: Registry) -> list[object]:
    """All that the catalog says, each row of which is compared with the log."""
    catalog = registry.repository.catalog
    assert catalog.check_log() == catalog.position()
    return [catalog.bases(), catalog.models(), catalog.versions()]


@pytest.fixture
def counted(seaweed: Seaweed, bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with wire(seaweed.port) as one:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{one.port}")
        yield one


def events_read(counted: Wire) -> set[int]:
    """The numbers of the events that were fetched."""
    return {int(m[1]) for line in counted.requests if (m := EVENT.match(line))}


def test_a_new_client_reads_the_last_snapshot_and_what_came_after(
    client: Client, counted: Wire
) -> None:
    first = client("first")
    first.repository.catalog.remember_fingerprint(
        FileState(Path("/secret/place"), 1, 2, 3), CachedFingerprint("a" * 64, None)
    )
    write(first, 11)  # 34 events
    backend = first.repository.home.backend
    kept = [entry.key for entry in backend.list("snapshots/")]
    assert [key[:20] for key in kept] == ["snapshots/000000020-", "snapshots/000000030-"]
    for key in kept:
        data = backend.read(key)
        assert hashlib.sha256(data).hexdigest() == key[-64:]
        database = zstandard.ZstdDecompressor().decompress(data)
        assert database.startswith(b"SQLite format 3") and b"secret" not in database
    counted.requests.clear()
    second = client("second")
    assert second.repository.catalog.position() == 34
    assert events_read(counted) == {30, 31, 32, 33, 34}
    assert shown(second) == shown(first)
    write(second, 1)
    counted.requests.clear()
    with client("first") as again:
        assert again.repository.catalog.position() == 37
        assert events_read(counted) == {34, 35, 36, 37}
        assert shown(again) == shown(second)


def test_versions_count_as_events_do(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few events of many versions are as much to read."""
    monkeypatch.setattr(bucket_snapshots, "EVERY", 4)
    monkeypatch.setattr(bucket_snapshots, "LOOKED_AFTER", 1)
    first = client("first")
    write(first, 1)
    key = [entry.key for entry in first.repository.home.backend.list("snapshots/")]
    assert [one[10:29] for one in key] == ["000000004-000000001"]


def renamed(backend: Backend, data: bytes, start: str = "snapshots/000000030-000000010-") -> None:
    """Put bytes under the key that their digest gives."""
    backend.create(start + hashlib.sha256(data).hexdigest(), data)


def changed(database: bytes, tmp_path: Path, statement: str) -> bytes:
    """A database after a statement, compressed."""
    (tmp_path / "changed").write_bytes(database)
    with closing(sqlite3.connect(tmp_path / "changed", isolation_level=None)) as connection:
        connection.execute(statement)
    return zstandard.ZstdCompressor().compress((tmp_path / "changed").read_bytes())


TRIGGER = "CREATE TRIGGER t AFTER INSERT ON tags BEGIN DELETE FROM versions; END"
OTHER = {
    "no frame": b"something else",
    "no database": zstandard.compress(b"something else" * 1000),
    "an empty file": b"",
    "too large": zstandard.compress(bytes(300 << 20)),
}
STATEMENTS = {
    "a trigger": TRIGGER,
    "a column more": "ALTER TABLE bases ADD COLUMN colour TEXT",
    "another log": f"UPDATE log_position SET sha256 = '{'a' * 64}'",
    "another event": "UPDATE log_position SET position = 29",
    "no position": "DELETE FROM log_position",
}
CUT = {"half a frame": (None, 5000), "a database cut off": (9000, None)}


def bad(name: str, database: bytes, tmp_path: Path) -> bytes:
    if name in STATEMENTS:
        return changed(database, tmp_path, STATEMENTS[name])
    if name in CUT:
        of_database, of_frame = CUT[name]
        return zstandard.compress(database[:of_database])[:of_frame]
    return OTHER[name]


@pytest.mark.parametrize("name", [*OTHER, *STATEMENTS, *CUT])
def test_a_bad_snapshot_is_not_used(
    client: Client, counted: Wire, tmp_path: Path, name: str
) -> None:
    """The one before it is, and without one all events are read; a good one takes its place later."""
    first = client("first")
    write(first, 11)
    expected = shown(first)
    backend = first.repository.home.backend
    older, last = [entry.key for entry in backend.list("snapshots/")]
    database = zstandard.ZstdDecompressor().decompress(backend.read(last))
    backend.delete(last)
    renamed(backend, bad(name, database, tmp_path))
    counted.requests.clear()
    assert shown(client("second")) == expected
    assert {20, *range(21, 35)} <= events_read(counted)
    backend.delete(older)
    assert shown(client("third")) == expected
    write(first, 3)
    assert [entry.key[:19] for entry in backend.list("snapshots/")][-1] == "snapshots/000000040"


def test_a_snapshot_with_flipped_bits_is_not_used(client: Client, counted: Wire) -> None:
    first = client("first")
    write(first, 11)
    backend = first.repository.home.backend
    for key in [entry.key for entry in backend.list("snapshots/")]:
        data = bytearray(backend.read(key))
        data[len(data) // 2] ^= 1
        backend.delete(key)
        backend.create(key, data)
    assert shown(client("second")) == shown(first)
    assert 1 in events_read(counted)


def test_the_digest_of_the_tables_is_that_of_the_migrations() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate.make_tables(connection)
        assert migrate.schema_sha256(connection) == migrate.SCHEMA_SHA256
        connection.execute(TRIGGER)
        assert migrate.schema_sha256(connection) != migrate.SCHEMA_SHA256


def test_the_catalog_is_copied_only_where_a_snapshot_is_due(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, copy = [], bucket_snapshots._copy

    def counted(catalog: Path, place: Path) -> tuple[int, int]:
        copied.append(catalog)
        return copy(catalog, place)

    monkeypatch.setattr(bucket_snapshots, "_copy", counted)
    write(client("first"), 11)  # 34 events: every fifth looks, every tenth is due
    assert len(copied) == 3
