"""Many additions at once: versions committed a second, in batches of 100 whose containers are there
already; and the seconds of `add_many` of small fine-tunes by two processes, and by a Ray cluster of two
nodes with one core each, beside those of one process with one core. Workers are started, and have
loaded what they need, before the clock is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.catalog import NewVersion, PreparedVersion
from dsvd_registry.registry import RayExecutor, WorkerProcesses
from dsvd_registry.registry.adding.batch import VERSIONS
from dsvd_registry.threads import CORES_VARIABLE

BATCHES, RUNS = 20, 3
FINE_TUNES, TENSORS, SIZE = 200, 8, 256
AIM_COMMITS, AIM_RATIO = 1000, 1.7
ONE = "one process, one core"


def measure() -> list[dict[str, object]]:
    """A row of commits, and one for each way to spread the work."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_files(place)
        return [_commits(place), *_additions(place)]


def _write_files(place: Path) -> None:
    numbers = torch.Generator().manual_seed(0)
    base = {f"layer.{n}.weight": torch.randn(SIZE, SIZE, generator=numbers) for n in range(TENSORS)}
    save_file(base, place / "base.safetensors")
    (place / "files").mkdir()
    for n in range(FINE_TUNES + 2):
        factors = [torch.randn(2, SIZE, 8, generator=numbers) for _ in base]
        tuned = {
            name: weights + 1e-3 * a @ b.T
            for (name, weights), (a, b) in zip(base.items(), factors, strict=True)
        }
        file = place / ("files" if n < FINE_TUNES else ".") / f"ft-{n:03}.safetensors"
        save_file(tuned, file)


def _commits(place: Path) -> dict[str, object]:
    """Versions a second, of a model each; their container is in the store."""
    with Registry.init(place / "commits") as registry:
        registry.add_base("base", place / "base.safetensors")
        first = registry.add(place / f"ft-{FINE_TUNES:03}.safetensors", base="base", name="first")
        known, objects = first.version, registry.repository.objects
        results = registry.repository.catalog.result_digests(known.container)
        new = NewVersion(
            known.container, known.size, known.base, known.source, known.settings, known.summary,
            {"source": results, "result": results},
        )  # fmt: skip
        seconds = []
        for batch in range(BATCHES):
            many = [PreparedVersion(f"m-{batch}-{n}", new) for n in range(VERSIONS)]
            start = time.perf_counter()
            done = registry.repository.catalog.add_prepared(
                many, lambda one: objects.require(*one.objects)
            )
            seconds.append(time.perf_counter() - start)
            assert len(done) == len(registry.versions(f"m-{batch}-*")) == VERSIONS
    return {
        "figure": f"versions committed a second, {VERSIONS} in a batch",
        "runs": BATCHES,
        "value": round(VERSIONS / median(seconds)),
        "at least": AIM_COMMITS,
    }


def _additions(place: Path) -> Iterator[dict[str, object]]:
    """The ways in turns, and the ratio of each to one process."""
    with contextlib.ExitStack() as stack:
        ways: dict[str, Executor] = {
            ONE: stack.enter_context(_one_core()),
            "2 worker processes": stack.enter_context(WorkerProcesses(2)),
            "Ray, 2 nodes of one core": stack.enter_context(_on_ray()),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for run in range(RUNS + 1):
            for way, executor in ways.items():
                taken = _seconds(place, place / f"{way}-{run}", executor, only_start=run == 0)
                if run:
                    seconds[way].append(taken)
    alone = median(seconds[ONE])
    for way, taken_each in seconds.items():
        yield {
            "figure": f"add of {FINE_TUNES} fine-tunes, {way}",
            "runs": RUNS,
            "value": round(median(taken_each), 2),
            "times faster": round(alone / median(taken_each), 2),
            "at least": "" if way == ONE else AIM_RATIO,
        }


def _seconds(place: Path, root: Path, executor: Executor, *, only_start: bool) -> float:
    files = [place / f"ft-{FINE_TUNES + n:03}.safetensors" for n in range(2)]
    with Registry.init(root) as registry:
        registry.add_base("base", place / "base.safetensors")
        start = time.perf_counter()
        paths = files if only_start else [place / "files"]
        found = registry.add_many(paths, base="base", executor=executor)
        taken = time.perf_counter() - start
        assert len(found.added) == (2 if only_start else FINE_TUNES), found.refused
    return taken


@contextlib.contextmanager
def _one_core() -> Iterator[Executor]:
    """One worker, with the threads of one core as the others have."""
    before = os.environ.get(CORES_VARIABLE)
    os.environ[CORES_VARIABLE] = "1"
    try:
        executor = WorkerProcesses(1)
    finally:
        if before is None:
            del os.environ[CORES_VARIABLE]
        else:
            os.environ[CORES_VARIABLE] = before
    with executor:
        yield executor


@contextlib.contextmanager
def _on_ray() -> Iterator[Executor]:
    from ray.cluster_utils import Cluster

    one_core = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=one_core)
    try:
        cluster.add_node(**one_core)
        cluster.wait_for_nodes()
        with RayExecutor(cluster.address) as executor:
            yield executor
    finally:
        cluster.shutdown()
