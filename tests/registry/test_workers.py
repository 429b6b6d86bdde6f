"""Many files at once, encoded by other processes: what becomes of each, batches, deaths, stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument
from dsvd_registry.registry import AddedMany, StoppedMany, WorkerProcesses
from dsvd_registry.registry.adding import batch

from .conftest import Weights, write_pickle, write_safetensors
from .dying import DyingWorkers
from .interrupted_worker import tidy_up_together

NUMBER = 6
NAMES = [f"ft-{number}" for number in range(NUMBER)]


def weights(seed: int) -> Weights:
    """The base (seed 0), or a fine-tune of it."""
    make = torch.Generator().manual_seed(1)
    made = {
        "unet.conv.weight": torch.randn(16, 8, 3, 3, generator=make),
        "unet.attn.to_q.weight": torch.randn(48, 64, generator=make),
        "unet.norm.bias": torch.randn(40, generator=make),
    }
    make.manual_seed(seed)
    if seed:
        made = {name: t + 1e-3 * torch.randn(t.shape, generator=make) for name, t in made.items()}
    return made


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_safetensors(weights(0), tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ft-0` to `ft-5`, the last a pickle."""
    made = tmp_path_factory.mktemp("files")
    for seed, name in enumerate(NAMES[:-1], 1):
        write_safetensors(weights(seed), made / f"{name}.safetensors", {"ss_clip_skip": str(seed)})
    write_pickle(weights(NUMBER), made / f"{NAMES[-1]}.ckpt")
    return made


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerProcesses]:
    with WorkerProcesses(2) as executor:
        yield executor


@pytest.fixture
def registry(tmp_path: Path, base_file: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("base", base_file)
        yield opened


def outcomes(found: AddedMany) -> list[tuple[str, str]]:
    return [(file.path.stem, file.outcome) for file in found.files]


def added_by_event(registry: Registry) -> list[int]:
    """The number of versions that each event has added, read from the files of the log."""
    events = [
        json.loads(path.read_bytes())["changes"]
        for path in sorted((registry.folder / "events").rglob("*.json"))
    ]
    counts = [sum(change["kind"] == "version-added" for change in event) for event in events]
    return [count for count in counts if count]


def is_empty(group: int) -> bool:
    """True if no process of a group is left, soon: multiprocessing's own helper ends last."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_workers_make_what_one_process_makes(
    registry: Registry, folder: Path, workers: WorkerProcesses, tmp_path: Path, base_file: Path
) -> None:
    """The same containers, metadata and summary, by whichever process; again, nothing is written."""
    with Registry.init(tmp_path / "other") as other:
        other.add_base("base", base_file)
        alone = other.add_many([folder], base="base", tags=["run"], lossless=True)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no checkpoint")
    told: list[tuple[str, int, int]] = []
    found = registry.add_many(
        [folder, bad], base="base", tags=["run"], lossless=True, executor=workers,
        progress=lambda *said: told.append(said),
    )  # fmt: skip
    assert found.files[:NUMBER] == alone.files
    assert outcomes(found) == [*((name, "added") for name in NAMES), ("bad", "refused")]
    assert told == [("files", number, NUMBER + 1) for number in range(NUMBER + 2)]
    assert registry.metadata("ft-3") == {"ss_clip_skip": "4"}
    assert registry.version("ft-3").tags == ("run",)
    assert registry.verify(deep=True).is_well
    registry.materialize("ft-0", tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == (
        folder / "ft-0.safetensors"
    ).read_bytes()
    before = added_by_event(registry)
    again = registry.add_many([folder], base="base", tags=["run"], lossless=True, executor=workers)
    assert outcomes(again) == [(name, "there") for name in NAMES]
    assert added_by_event(registry) == before and sum(before) == NUMBER


def test_a_worker_that_dies(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """Its file is tried again, and given up after three times; the others are added."""
    (tmp_path / "once").mkdir()
    with DyingWorkers(1, tmp_path / "once", 1, "ft-0") as dying:
        found = registry.add_many([folder], base="base", executor=dying)
    assert outcomes(found) == [(name, "added") for name in NAMES]
    assert len(list((tmp_path / "once").iterdir())) == 1
    (tmp_path / "always").mkdir()
    with DyingWorkers(2, tmp_path / "always", 99, "ft-2") as dying:
        found = registry.add_many([folder], base="base", executor=dying)
    assert len(list((tmp_path / "always").iterdir())) == 3
    (refused,) = found.refused
    assert refused.path.stem == "ft-2" and refused.refusal is not None
    assert refused.refusal.type == "StorageError"
    assert "died, 3 times: it was ended by SIGKILL" in refused.refusal.message
    assert len(found.there) == NUMBER - 1
    assert registry.verify(deep=True).is_well


def test_ctrl_c(registry: Registry, base_file: Path, tmp_path: Path) -> None:
    """The real program and its workers end, and tidy up; the same command goes on."""
    many = tmp_path / "many"
    many.mkdir()
    count = 60
    for seed in range(1, count + 1):
        write_safetensors(weights(seed), many / f"m-{seed:02}.safetensors")
    command = [sys.executable, "-m", "dsvd_registry.cli", "add", str(many), "--base", "base",
               "--workers", "2", "--json", "--registry", str(registry.folder)]  # fmt: skip
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not added_by_event(registry) and program.poll() is None:
        time.sleep(0.01)
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate()
    assert program.returncode == 130, err
    assert json.loads(err)["error"]["type"] == "Interrupted"  # and nothing else is said there
    assert is_empty(program.pid)  # no worker is left
    said = json.loads(out)
    there = {version.model for version in registry.versions()}
    assert {Path(file["path"]).stem for file in said["files"]} == there
    assert len(there) + len(said["not_reached"]) == count and 0 < len(there) < count
    assert list((registry.folder / "tmp").iterdir()) == []
    found = registry.add_many([many], base="base")
    assert (len(found.there), len(found.added)) == (len(there), count - len(there))
    assert registry.verify(deep=True).is_well


def test_batches(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A batch is committed when it is full, or old; all of it before the call returns."""
    monkeypatch.setattr(batch, "SECONDS", 3600.0)
    registry.add_many([folder], base="base", batch=4)
    assert added_by_event(registry) == [4, 2]
    registry.add_many([folder], base="base", tau=0.9)
    assert added_by_event(registry) == [4, 2, NUMBER]
    monkeypatch.setattr(batch, "SECONDS", 0.0)
    with ThreadPoolExecutor(1) as executor:  # any executor will do
        found = registry.add_many([folder], base="base", tau=0.8, executor=executor)
    assert len(found.added) == NUMBER
    assert added_by_event(registry) == [4, 2, NUMBER, *[1] * NUMBER]
    with pytest.raises(InvalidArgument, match="at least 1"):
        registry.add_many([folder], base="base", batch=0)
    with pytest.raises(InvalidArgument, match="not enough"):
        WorkerProcesses(0)


def test_what_an_interrupt_finds_is_committed(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "SECONDS", 3600.0)

    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("files", 3):
            raise KeyboardInterrupt

    with pytest.raises(StoppedMany) as caught:
        registry.add_many([folder], base="base", progress=progress)
    assert outcomes(caught.value.found) == [(name, "added") for name in NAMES[:3]]
    assert [path.stem for path in caught.value.found.not_reached] == NAMES[3:]
    assert added_by_event(registry) == [3]


def test_one_that_is_refused_does_not_stop_its_batch(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Garbage collection takes the container of one file between its preparation and its commit."""
    monkeypatch.setattr(batch, "SECONDS", 3600.0)

    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("files", 1):
            registry.collect_garbage(grace_days=-1)

    found = registry.add_many([folder], base="base", progress=progress)
    assert outcomes(found) == [("ft-0", "refused"), *((name, "added") for name in NAMES[1:])]
    refusal = found.files[0].refusal
    assert refusal is not None and "is missing from" in refusal.message
    assert added_by_event(registry) == [NUMBER - 1]
    assert registry.verify(deep=True).is_well
    assert registry.add_many([folder], base="base").added[0].ref == "ft-0@1"


def test_an_answer_that_cannot_be_sent_fails_its_task_alone() -> None:
    with WorkerProcesses(1) as workers:
        worker = workers.submit(os.getpid).result()
        with pytest.raises(RuntimeError, match="cannot be sent: TypeError"):
            workers.submit(threading.Lock).result()
        assert workers.submit(os.getpid).result() == worker


def test_all_workers_are_interrupted_before_any_is_waited_for(tmp_path: Path) -> None:
    def ended(what: str) -> int:
        return len(list(tmp_path.glob(f"*.{what}")))

    with pytest.raises(KeyboardInterrupt), WorkerProcesses(3) as workers:
        for name in "abc":
            workers.submit(tidy_up_together, tmp_path, name, 3)
        while ended("begun") < 3:
            time.sleep(0.02)
        raise KeyboardInterrupt
    assert ended("interrupted") == ended("together") == 3
