"""`add` killed at every step it takes: the registry is well, and the re-run succeeds.

What had been reported is there; at most the version that was being added is not.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from dsvd_registry import Registry

from . import child
from .conftest import Child, Pair, write_pair


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair so small that killing at every step takes seconds."""
    torch.manual_seed(5)
    base = {"w": torch.randn(24, 32), "b": torch.randn(32), "ids": torch.arange(4)}
    tuned = {
        "w": base["w"] + 1e-3 * torch.randn(24, 2) @ torch.randn(2, 32),
        "b": base["b"] + 1e-3 * torch.randn(32),
        "ids": torch.arange(4),
        "new": torch.randn(5),
    }
    return write_pair(tmp_path_factory.mktemp("small"), base, tuned)


def adding(small: Pair, *taus: float) -> child.Additions:
    """The addition to the model `subject` by a process that is to be killed."""
    return [
        (small.tuned_file, {"base": "base", "name": "subject", "tau": tau, "note": str(tau)})
        for tau in taus
    ]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, small: Pair) -> Path:
    """A registry with the base alone."""
    root = tmp_path_factory.mktemp("empty") / "registry"
    with Registry.init(root) as registry:
        registry.add_base("base", small.base_file)
    return root


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, empty: Path, small: Pair) -> Path:
    """The same with `subject@1`."""
    root = shutil.copytree(empty, tmp_path_factory.mktemp("one") / "registry")
    with Registry.open(root) as registry:
        ((source, arguments),) = adding(small, 0.9)
        registry.add(source, **arguments)
    return root


def check_after(root: Path, additions: child.Additions, reported: list[str], known: int) -> int:
    """All that must hold after a crash, and that running it again completes it.

    Returns how many versions the crash left.

    `known` versions were there before. `reported` are the refs that the process had time to report.
    """
    refs = [f"subject@{number + 1}" for number in range(len(additions))]
    with Registry.open(root) as registry:
        there = registry.versions()
        assert [version.ref for version in there] == refs[: len(there)]
        assert reported == refs[: len(reported)]
        assert max(known, len(reported)) <= len(there) <= max(known, len(reported) + 1)
        for version, (_, arguments) in zip(there, additions, strict=False):
            assert (version.note, version.summary["tau"]) == (arguments["note"], arguments["tau"])
        verified = registry.verify(deep=True)
        assert (verified.findings, verified.versions) == ((), len(there))
        registry.collect_garbage(grace_days=0)
        assert not list((root / "tmp").iterdir())
        assert registry.usage().reclaimable == 0
        again = [registry.add(source, **arguments) for source, arguments in additions]
        assert [added.ref for added in again] == refs
        assert [added.created for added in again] == [i >= len(there) for i in range(len(refs))]
        assert registry.verify().is_well
        made = registry.materialize("subject", root.parent / "out.safetensors", replace=True)
        assert made.recorded
        return len(there)


def steps_of(root: Path, additions: child.Additions) -> int:
    """The number of steps of the whole run."""
    reports = Child(child.add, root, additions).reports()
    assert [kind for kind, _ in reports] == ["added"] * len(additions) + [None]
    count: int = reports[-1][1]
    return count


def test_killed_before_every_step(one: Path, small: Pair, tmp_path: Path) -> None:
    additions = adding(small, 0.9, 0.4)
    steps = steps_of(shutil.copytree(one, tmp_path / "whole"), additions)
    assert steps > 30
    outcomes = set()
    for kill_at in range(steps):
        root = shutil.copytree(one, tmp_path / str(kill_at) / "registry")
        killed = Child(child.add, root, additions, kill_at)
        reports = killed.reports()
        assert killed.process.exitcode == -signal.SIGKILL
        assert {kind for kind, _ in reports} <= {"added"}
        try:
            left = check_after(root, additions, [ref for _, ref in reports], 1)
        except AssertionError as error:
            error.add_note(f"killed before step {kill_at} of {steps}")
            raise
        outcomes.add((len(reports), left))
        shutil.rmtree(root.parent)
    # Before anything was reported; before the event was there; with the event but no rows.
    assert outcomes == {(0, 1), (1, 1), (1, 2)}


@pytest.mark.parametrize("number", range(12))
def test_killed_at_any_time(empty: Path, small: Pair, tmp_path: Path, number: int) -> None:
    additions = adding(small, 0.9, 0.6, 0.4)
    root = shutil.copytree(empty, tmp_path / "registry")
    killed = Child(child.add, root, additions)
    if number % 2:
        killed.wait_for_report()
    time.sleep(random.Random(number).uniform(0, 0.15))
    killed.kill()
    refs = [ref for kind, ref in killed.reports() if kind == "added"]
    assert len(refs) >= number % 2
    check_after(root, additions, refs, 0)
    with Registry.open(root) as registry:
        rows = registry.versions(), registry.bases()
    Registry.rebuild_catalog(root)
    with Registry.open(root) as registry:
        assert (registry.versions(), registry.bases()) == rows


def test_a_new_registry_killed_on_the_way(small: Pair, tmp_path: Path) -> None:
    additions = adding(small, 0.9)
    steps = steps_of_new(tmp_path / "whole", small, additions)
    assert steps > 20
    for kill_at in range(0, steps, 9):
        root = tmp_path / str(kill_at)
        Child(child.create, root, small.base_file, additions, kill_at).reports()
        # Whatever is there: `init`, `base add` and `add` once more.
        reports = Child(child.create, root, small.base_file, additions).reports()
        assert [kind for kind, _ in reports] == ["added", None], (kill_at, reports)
        check_after(root, additions, ["subject@1"], 1)
        shutil.rmtree(root)


def steps_of_new(root: Path, small: Pair, additions: child.Additions) -> int:
    reports = Child(child.create, root, small.base_file, additions).reports()
    count: int = reports[-1][1]
    return count
