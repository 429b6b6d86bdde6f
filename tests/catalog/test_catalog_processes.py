"""Several processes, some killed, and threads: nothing reported is lost, no number is given twice."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from dsvd_registry.catalog import Catalog, rebuild
from dsvd_registry.errors import NotFound
from dsvd_registry.store import EventLog, VersionAdded

from .conftest import Home, start_child

Add = Callable[..., Any]


def check_against_log(home: Home, catalog: Catalog) -> dict[str, str]:
    """The catalog's refs and containers; they must be what the log holds and a rebuild gives."""
    logged = {
        f"{change.model}@{change.number}": change.container
        for _, event in EventLog(home.registry).after()
        for change in event.changes
        if isinstance(change, VersionAdded)
    }
    listed = {version.ref: version.container for version in catalog.versions()}
    assert listed == logged
    assert sorted(int(ref.partition("@")[2]) for ref in listed) == list(range(1, len(listed) + 1))
    before = home.dump()
    rebuild(home.registry, home.url)
    assert home.dump() == before
    return listed


def test_processes_that_add_at_once(home: Home, catalog: Catalog) -> None:
    children = [start_child(home, "subject", "10") for _ in range(4)]
    outputs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * 4
    reported = [line.split() for output in outputs for line in output.splitlines()]
    assert len(reported) == 40
    listed = check_against_log(home, catalog)
    assert listed == {one[0]: one[1] for one in reported}


@pytest.mark.parametrize("database", ["sqlite"])
def test_processes_without_a_common_lock(home: Home, catalog: Catalog, tmp_path: Path) -> None:
    """Each has a catalog of its own, so that the log alone decides who was first.

    Seen to fail where a lost race is an error.
    """
    homes = [replace(home, url=f"sqlite:///{tmp_path / str(number)}.sqlite") for number in range(4)]
    for one in homes:
        one.open().close()
    children = [start_child(one, "subject", "15") for one in homes]
    outputs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * 4
    reported = dict(line.split() for output in outputs for line in output.splitlines())
    assert len(reported) == 60
    with home.open() as again:
        assert check_against_log(home, again) == reported


def test_threads_of_one_catalog(home: Home, catalog: Catalog, add: Add) -> None:
    def work(thread: int) -> list[str]:
        refs = []
        for number in range(5):
            added = add("subject", f"{thread}", note=f"{thread} {number}")
            assert catalog.version(added.ref) == replace(added, aliases=ANY)
            refs.append(added.ref)
        with pytest.raises(NotFound):
            catalog.set_note("nobody", 1, "")
        return refs

    with ThreadPoolExecutor(4) as pool:
        added = [ref for refs in pool.map(work, range(4)) for ref in refs]
    assert len(set(added)) == 20
    assert check_against_log(home, catalog).keys() == set(added)


@pytest.mark.parametrize(("kill", "survive"), [("event", 2), ("rows", 3)])
def test_a_process_killed_around_its_event(
    home: Home, catalog: Catalog, kill: str, survive: int
) -> None:
    child = start_child(home, "subject", "2", kill)
    output = child.communicate()[0]
    assert child.returncode == -signal.SIGKILL
    assert output.count("\n") == 2
    # This one was open before and has not caught up; a new one does, as does gc's question.
    assert len(catalog.versions()) == 2
    assert len(catalog.referenced_objects()) == survive + 2
    with home.open() as again:
        assert again.version("subject").number == survive
    assert len(check_against_log(home, catalog)) == survive
    after = start_child(home, "subject", "1")
    assert after.communicate()[0].startswith(f"subject@{survive + 1} ")


def test_a_write_catches_up_first(home: Home, catalog: Catalog) -> None:
    start_child(home, "subject", "0", "rows").communicate()
    assert catalog.versions() == []
    assert catalog.set_note("subject", 1, "found").note == "found"
    check_against_log(home, catalog)


def test_processes_killed_at_any_time(home: Home, catalog: Catalog) -> None:
    reported: dict[str, str] = {}
    chance = random.Random(1)
    for _ in range(3):
        children = [start_child(home, "subject", "100000") for _ in range(2)]
        outputs = []
        for child in children:
            assert child.stdout is not None
            outputs.append(child.stdout.readline())  # it is at work now
        time.sleep(chance.uniform(0, 0.1))
        for child, first in zip(children, outputs, strict=True):
            child.kill()
            rest = child.communicate()[0]
            lines = (first + rest).splitlines(keepends=True)
            reported.update(line.split() for line in lines if line.endswith("\n"))
    with home.open() as again:
        listed = check_against_log(home, again)
    assert reported.items() <= listed.items()
    assert len(listed) - len(reported) <= 6
