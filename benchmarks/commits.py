"""Versions a second that 8 processes commit to one registry in a local folder.

The catalog is in SQLite or in PostgreSQL, whose server waits for its disk, too; the containers are there
already. The yardstick is what the disk alone allows: one process that makes one durable file after the
other, as events are made.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

from dsvd_registry.catalog import Catalog, Source
from dsvd_registry.catalog.prepared import NewVersion, PreparedVersion
from dsvd_registry.store import RegistryFolder, registry_folder
from dsvd_registry.store.folder_backend import FolderBackend

WRITERS, SECONDS = 8, 10.0
BATCH = 100
BASE = "b" * 64
AIMS = {("PostgreSQL", 1): 50.0, ("PostgreSQL", BATCH): 1000.0}  # versions a second


def measure() -> list[dict[str, object]]:
    """One row for each database and size of a batch: versions and commits a second of all writers."""
    from tests.postgresql_server import started

    with tempfile.TemporaryDirectory() as made, started({"autovacuum": "on"}) as server:
        place = Path(made)
        files = _durable_files(registry_folder.create(place / "files"))
        rows: list[dict[str, object]] = [
            {
                "what": "durable files",
                "writers": 1,
                "a_second": round(files, 1),
                "commits_a_second": None,
                "times_the_files": None,
                "aim_a_second": None,
            }
        ]
        for batch in (1, BATCH):
            for kind in ("SQLite", "PostgreSQL"):
                with contextlib.ExitStack() as stack:
                    url = None
                    if kind == "PostgreSQL":
                        url = server.url(stack.enter_context(server.database()))
                    versions = _versions_a_second(place / f"{kind}-{batch}", url, batch)
                rows.append(
                    {
                        "what": f"versions, {kind}, {batch} in a commit",
                        "writers": WRITERS,
                        "a_second": round(versions, 1),
                        "commits_a_second": round(versions / batch, 1),
                        "times_the_files": round(versions / batch / files, 2),
                        "aim_a_second": AIMS.get((kind, batch)),
                    }
                )
        return rows


def _durable_files(folder: RegistryFolder) -> float:
    backend, number = FolderBackend(folder.root), 0
    start = time.perf_counter()
    while (took := time.perf_counter() - start) < SECONDS / 2:
        backend.create(f"events/000000/{number:09}.json", os.urandom(1000))
        number += 1
    return number / took


def _versions_a_second(root: Path, url: str | None, batch: int) -> float:
    folder = registry_folder.create(root)
    with Catalog.open(folder, url) as catalog:
        catalog.add_base(
            "base", digest=BASE, manifest="1" * 64, file="2" * 64, size=4, format="safetensors"
        )
    processes = multiprocessing.get_context("spawn")
    barrier, counts = processes.Barrier(WRITERS), processes.Queue()
    writers = [
        processes.Process(target=_write, args=(root, url, batch, number, barrier, counts))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    reports = [counts.get() for _ in writers]
    for writer in writers:
        writer.join()
    added, took = sum(count for count, _ in reports), max(seconds for _, seconds in reports)
    with Catalog.open(folder, url) as catalog:
        found = len(catalog.versions())
    if found != added:
        raise RuntimeError(f"{added} versions were reported, and {found} are there")
    return float(added) / took


def _write(
    root: Path,
    url: str | None,
    batch: int,
    writer: int,
    barrier: Barrier,
    counts: multiprocessing.Queue[tuple[int, float]],
) -> None:
    with Catalog.open(registry_folder.open(root), url) as catalog:
        added, prepared = 0, _prepared(writer, batch)
        barrier.wait()
        start = time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            added += len(catalog.add_prepared(next(prepared), lambda _: None))
        counts.put((added, time.perf_counter() - start))


def _prepared(writer: int, batch: int) -> Iterator[list[PreparedVersion]]:
    """Batches of versions, each with a source of its own and the figures that a real one has."""
    number = 0
    while True:
        versions = []
        for _ in range(batch):
            number += 1
            digest = f"{writer:032x}{number:032x}"
            version = NewVersion(
                container=digest,
                size=488_700,
                base=BASE,
                source=Source("safetensors", digest, 37_900_000),
                settings='{"tau":0.5}',
                summary={"tau": 0.5, "tensors": 300, "error": 0.3, "bytes": 488_700},
                digests={"source": {"": {"sha256": digest, "crc32": digest[-8:]}}},
            )
            versions.append(PreparedVersion(f"subject-{writer}-{number % 500}", version))
        yield versions
