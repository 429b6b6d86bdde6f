"""Many processes do everything at once with one registry: nothing that was reported is lost."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from postgresql_server import PostgresqlServer

from dsvd_registry import Registry
from dsvd_registry.catalog import replay
from dsvd_registry.store import EventLog, RegistryFolder, VersionAdded

from . import crowd
from .conftest import Child, write_safetensors

Run = Callable[[str], list[Any]]
PROCESSES = 8
SECONDS = 12.0


@pytest.fixture(params=["sqlite", "postgresql"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs statements on the catalog of the registry, which is in one of the databases."""
    if request.param == "sqlite":
        yield partial(_run_in_sqlite, tmp_path / "registry" / "catalog.sqlite")
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    with server.database() as name:
        monkeypatch.setenv("DSVD_CATALOG", server.url(name))  # the other processes have it, too
        yield partial(server.run, database=name)


def _run_in_sqlite(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def tables(run: Run) -> dict[str, list[Any]]:
    return {name: sorted(run(f"SELECT * FROM {name}"), key=repr) for name in replay.TABLES}


def a_small_registry(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A base of two tensors, and three fine-tunes of it."""
    numbers = torch.Generator().manual_seed(3)
    base = {"w": torch.randn(24, 16, generator=numbers), "b": torch.randn(9, generator=numbers)}
    write_safetensors(base, tmp_path / "base.safetensors")
    sources = []
    for number in range(3):
        tuned = {
            name: w + 0.01 * torch.randn(w.shape, generator=numbers) for name, w in base.items()
        }
        sources.append(write_safetensors(tuned, tmp_path / f"tuned-{number}.safetensors"))
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("sd15", tmp_path / "base.safetensors")
    return tmp_path / "registry", sources


def test_a_crowd(tmp_path: Path, run: Run) -> None:
    """Every version that was reported is there, or was removed by a call that said so.

    Seen to fail where gc looks what is needed before it takes the write lock, and where a writer does
    not look under the lock whether its container is still there: reads of live versions find their
    objects gone.
    """
    root, sources = a_small_registry(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    children = [
        Child(crowd.take_part, root, sources, out, seed, SECONDS) for seed in range(PROCESSES)
    ]
    found = [dict(child.reports()) for child in children]
    assert all(one for one in found), "a process died"
    assert [line for one in found for line in one["wrong"]] == []

    done: Counter[str] = sum((one["done"] for one in found), Counter())
    for what in crowd.CHANCES:
        assert done[f"{what} done"] > 0, done
    added = [ref for one in found for ref in one["added"]]
    removed = [ref for one in found for ref in one["removed"]]
    assert len(set(added)) == len(added)
    assert len(set(removed)) == len(removed)

    with Registry.open(root) as registry:
        live = [version.ref for version in registry.versions()]
        assert set(live) == set(added) - set(removed)
        assert set(removed) <= set(added)
        # No number was given twice, and none left out.
        logged = [
            f"{change.model}@{change.number}"
            for _, event in EventLog(RegistryFolder(root)).after()
            for change in event.changes
            if isinstance(change, VersionAdded)
        ]
        assert sorted(logged) == sorted(added)
        for model in {ref.partition("@")[0] for ref in added}:
            history = registry.history(model)
            assert [version.number for version in history] == list(range(1, len(history) + 1))
        tagged = {
            (version.ref, tag)
            for model in {ref.partition("@")[0] for ref in added}
            for version in registry.history(model)
            for tag in version.tags
        }
        assert tagged == {tag for one in found for tag in one["tags"]}
        assert registry.verify(deep=True).findings == ()
        registry.collect_garbage(grace_days=0)
        assert registry.verify(deep=True).findings == ()
        for ref in live:
            registry.materialize(ref, out / "last", replace=True)
    before = tables(run)
    Registry.rebuild_catalog(root)
    assert tables(run) == before
