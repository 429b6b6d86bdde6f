"""SQLite's log goes into the database while nobody can write, and is kept short."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry.catalog import Catalog, sqlite
from dsvd_registry.store import RegistryFolder

from .conftest import dump

Add = Callable[..., Any]
Opener = Callable[[RegistryFolder], Catalog]


@pytest.fixture
def database() -> str:
    """These tests are about SQLite's own files."""
    return "sqlite"


WAYS: dict[str, Opener] = {
    "sqlite": Catalog.open,
    "url": lambda folder: Catalog.open(folder, f"sqlite:///{folder.catalog}"),
}


def wal(registry: RegistryFolder) -> int:
    return registry.catalog.with_name("catalog.sqlite-wal").stat().st_size


@pytest.fixture(params=WAYS)
def opened(
    request: pytest.FixtureRequest, catalog: Catalog, registry: RegistryFolder
) -> Iterator[Catalog]:
    """A catalog that others have open, too: closing the last one would shorten the log."""
    catalog.bases()
    with WAYS[request.param](registry) as found:
        yield found


def test_no_connection_does_it_by_itself(opened: Catalog) -> None:
    """Seen to fail without the pragmas. SQLite's default is every 1000 pages, after the commit."""
    with opened._database.reading() as connection:
        for pragma in ("wal_autocheckpoint", "journal_size_limit"):
            assert tuple(connection.execute(f"PRAGMA {pragma}").fetchone()) == (0,)


def grow(catalog: Catalog, count: int) -> None:
    for number in range(count):
        catalog.set_note("subject", 1, str(number % 10) * 60_000)


def test_a_long_log_is_shortened(opened: Catalog, add: Add, registry: RegistryFolder) -> None:
    """It comes to its limit over and over. Seen to fail without `shorten`: it grows for ever."""
    add("subject")
    sizes = []
    for _ in range(40):
        grow(opened, 5)
        sizes.append(wal(registry))
    longest = max(sizes)
    shrunk = sum(after < before for before, after in pairwise(sizes))
    assert sqlite.LONG_LOG <= longest < 2 * sqlite.LONG_LOG
    assert shrunk >= 2
    assert opened.version("subject").note == "4" * 60_000
    with closing(sqlite3.connect(registry.catalog)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, check: Callable[[], None]) -> Iterator[None]:
    """Calls `check` at each checkpoint, before it begins."""

    class Watched(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if "wal_checkpoint" in statement:
                check()
            return super().execute(statement, *values)

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Watched, **k))
        yield


def test_nobody_can_write_meanwhile(
    opened: Catalog, add: Add, registry: RegistryFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit during a checkpoint, which the fault in SQLite needs, is impossible.

    Seen to fail without the lock around the checkpoint: the commit goes through.
    """
    add("subject")
    checkpoints = 0
    before = dump(registry)

    def try_to_write() -> None:
        nonlocal checkpoints
        checkpoints += 1
        with (
            closing(sqlite3.connect(registry.catalog, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("UPDATE log_position SET position = 0")

    with watched(monkeypatch, try_to_write):
        grow(opened, 100)
    assert checkpoints >= 1
    assert dump(registry)["models"] == before["models"]
    assert opened.check_log() == 102


def test_one_who_writes_is_not_waited_for(
    catalog: Catalog, add: Add, registry: RegistryFolder
) -> None:
    """It is left to that one."""
    add("subject")
    grow(catalog, 50)
    before = wal(registry)
    with closing(sqlite3.connect(registry.catalog, isolation_level=None)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE log_position SET position = position")
        sqlite.shorten_log(registry.catalog)
        other.execute("ROLLBACK")
    assert wal(registry) == before


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    sqlite.shorten_log(tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []
