"""A registry in a bucket, on SeaweedFS over loopback: commits of many machines, a new client, a result.

Eight writers, each with a catalog of its own, commit one version after another. A client that has read
nothing lists a model of 100,000 versions, and again after one more addition. A result is made from the
bucket, with the base in the cache, beside the same from a folder.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.hashing import sha256
from dsvd_registry.store import BaseAdded, Event, VersionAdded, events, registry_folder
from dsvd_registry.store.description import BYTES, KEY
from dsvd_registry.store.event_log import event_key

from .commits import BASE, SECONDS, WRITERS, _prepared
from .startup import DSVD, in_turns

VERSIONS, MODELS = 100_000, 5_000
AIM_COMMITS, AIM_FIRST, AIM_NEXT, AIM_RATIO = 20.0, 10.0, 1.0, 1.2
TENSORS, SHAPE = 16, (1024, 1024)
UPLOADS = 16


def measure() -> list[dict[str, object]]:
    """Rows of seconds, or of commits a second, each with its aim."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from seaweed import running

    with tempfile.TemporaryDirectory() as made, running(Path(made)) as server:
        place = Path(made)
        os.environ.update(server.environment())
        with contextlib.chdir(place):
            return [*_commits(place), *_clients(place), *_materialize(place)]


def _row(what: str, unit: str, value: float, aim: float) -> dict[str, object]:
    return {"what": what, "unit": unit, "value": round(value, 2), "aim": aim}


def _commits(place: Path) -> Iterator[dict[str, object]]:
    url = "s3://studio/commits"
    os.environ["DSVD_CACHE"] = str(place / "maker")
    with Registry.init(url) as registry:
        registry.repository.catalog.add_base(
            "base", digest=BASE, manifest="1" * 64, file="2" * 64, size=4, format="safetensors"
        )
    processes = multiprocessing.get_context("spawn")
    barrier, counts = processes.Barrier(WRITERS), processes.Queue()
    writers = [
        processes.Process(target=_write, args=(url, str(place / f"w{n}"), n, barrier, counts))
        for n in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    reports = [counts.get() for _ in writers]
    for writer in writers:
        writer.join()
    added = sum(count for count, _ in reports)
    with Registry.open(url) as registry:
        if len(registry.versions()) != added:
            raise RuntimeError(f"{added} versions were reported, and others are there")
    rate = added / max(seconds for _, seconds in reports)
    yield _row(f"commits of one version, {WRITERS} machines", "a second", rate, AIM_COMMITS)


def _write(
    url: str,
    cache: str,
    writer: int,
    barrier: Barrier,
    counts: multiprocessing.Queue[tuple[int, float]],
) -> None:
    os.environ["DSVD_CACHE"] = cache
    with Registry.open(url) as registry:
        added, prepared = 0, _prepared(writer, 1)
        barrier.wait()
        start = time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            added += len(registry.repository.catalog.add_prepared(next(prepared), lambda _: None))
        counts.put((added, time.perf_counter() - start))


def _clients(place: Path) -> Iterator[dict[str, object]]:
    url, folder = "s3://studio/many", registry_folder.create(place / "many")
    os.environ["DSVD_CACHE"] = str(place / "writer")
    for number, data in enumerate(_log(), 1):
        path = folder.root / event_key(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    Registry.open(folder.root).close()  # makes the catalog
    with Registry.init(url) as registry:
        backend, home = registry.repository.home.backend, registry.repository.home
        with ThreadPoolExecutor(UPLOADS) as pool:
            keys = [event_key(number) for number in range(1, VERSIONS + 2)]
            list(pool.map(lambda key: backend.create(key, (folder.root / key).read_bytes()), keys))
        assert backend.read(KEY) == BYTES
    shutil.copy(folder.catalog, home.catalog)  # what a client that had read it all would have
    with Registry.open(url) as registry:
        # An event of so many versions that it is looked whether a snapshot is due.
        registry.repository.catalog.add_prepared(next(_prepared(99, 100)), lambda _: None)
        environment = {**os.environ, "DSVD_CACHE": str(place / "new")}
        name = f"dsvd ls subject-123, {VERSIONS:,} versions"
        yield _row(f"first {name}", "seconds", _seconds(url, environment), AIM_FIRST)
        registry.set_alias("prod", "subject-123@1")
    yield _row(f"next {name}", "seconds", _seconds(url, environment), AIM_NEXT)


def _seconds(url: str, environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        [DSVD, "--registry", url, "ls", "subject-123"],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def _log() -> Iterator[bytes]:
    """The bytes of the events of a base and of the versions, each with eight digests."""
    previous = None
    for number in range(1, VERSIONS + 2):
        change: BaseAdded | VersionAdded = BaseAdded(
            name="base", digest=BASE, manifest="1" * 64, file="2" * 64, size=4,
            format="safetensors", link=None,
        )  # fmt: skip
        if number > 1:
            digests = [sha256(b"%d %d" % (number, n)) for n in range(8)]
            kinds = ("autov3", "blake3", "sha256")
            files = [
                {"": {"crc32": some[3][:8], **dict(zip(kinds, some, strict=False))}}
                for some in (digests[:4], digests[4:])
            ]
            change = VersionAdded(
                model=f"subject-{(number - 2) % MODELS}", number=(number - 2) // MODELS + 1,
                container=digests[0], size=488_700, base=BASE, source_format="safetensors",
                source_sha256=digests[2], source_size=37_900_000, settings='{"tau":0.5}',
                summary={"tau": 0.5, "tensors": 300, "error": 0.3}, note="",
                digests={"source": files[0], "result": files[1]},
            )  # fmt: skip
        data = events.encode(
            Event(
                sequence=number, time="2026-11-23T13:17:47.760023Z", previous=previous,
                write_id=os.urandom(16).hex(), changes=(change,),
            )
        )  # fmt: skip
        previous = sha256(data)
        yield data


def _materialize(place: Path) -> Iterator[dict[str, object]]:
    torch.manual_seed(0)
    base = {f"w{n}": torch.randn(SHAPE) for n in range(TENSORS)}
    tuned = {
        name: weight + 1e-3 * torch.randn(SHAPE[0], 8) @ torch.randn(8, SHAPE[1])
        for name, weight in base.items()
    }
    save_file(base, place / "base.safetensors")
    save_file(tuned, place / "ft.safetensors")
    places = {"a folder": str(place / "folder"), "a bucket": "s3://studio/results"}
    os.environ["DSVD_CACHE"] = str(place / "results-cache")
    commands = {}
    for name, at in places.items():
        with Registry.init(at) as registry:
            registry.add_base("base", place / "base.safetensors")
            registry.add(place / "ft.safetensors", base="base", name="subject")
            registry.materialize("subject", place / "out.safetensors", replace=True)
        output = ["-o", str(place / "out.safetensors"), "--force"]
        commands[name] = [DSVD, "--registry", at, "materialize", "subject", *output]
    rows = {row["command"]: row for row in in_turns(commands, {})}
    seconds = [float(str(rows[name]["median_seconds"])) for name in places]
    yield _row(
        "materialize from a bucket, beside a folder", "times", seconds[1] / seconds[0], AIM_RATIO
    )
