from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry.catalog import CachedFingerprint, Catalog, FileState, Rebuilt, rebuild
from dsvd_registry.errors import RegistryError
from dsvd_registry.store import EventLog, NoteSet, RegistryFolder

from .conftest import Home, dump, fill

TIME = "2026-01-02T03:04:05.000006Z"
Add = Callable[..., Any]


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    """A catalog in which each kind of event happened."""
    fill(catalog)
    return catalog


COUNTS = Rebuilt(events=38, bases=1, models=2, versions=3, aliases=1, set_aside=None)


def test_rebuilt_is_equal_row_by_row(filled: Catalog, home: Home, tmp_path: Path) -> None:
    state = FileState(tmp_path, 1, 2, 3)
    filled.remember_fingerprint(state, CachedFingerprint("a" * 64, None))
    filled.remember_listings({("a" * 64, "{}"): "[]"})
    before = home.dump()
    assert all(before[table] for table in before)
    assert rebuild(home.registry, home.url) == COUNTS
    assert home.dump() == before
    # A catalog that was open meanwhile goes on.
    assert filled.set_note("b", 1, "newer").note == "newer"


def test_a_lost_catalog_comes_back_by_itself(filled: Catalog, home: Home) -> None:
    before = home.dump()
    filled.close()
    if home.is_sqlite:
        for path in home.registry.root.glob("catalog.sqlite*"):
            path.unlink()
    else:
        home.run("DROP SCHEMA public CASCADE")
        home.run("CREATE SCHEMA public")
    with home.open() as again:
        assert again.version("a@prod").number == 2
    assert home.dump() == before


@pytest.mark.parametrize("database", ["sqlite"])
def test_a_restored_backup_catches_up(
    filled: Catalog, add: Add, registry: RegistryFolder, tmp_path: Path
) -> None:
    filled.close()
    copy = tmp_path / "copy.sqlite"
    shutil.copy(registry.catalog, copy)
    add("a")
    filled.set_alias("a", "prod", 4)
    before = dump(registry)
    filled.close()
    for path in registry.root.glob("catalog.sqlite*"):
        path.unlink()
    shutil.copy(copy, registry.catalog)
    with Catalog.open(registry):
        assert dump(registry) == before


@pytest.mark.parametrize("database", ["sqlite"])
@pytest.mark.parametrize("damage", ["overwritten", "cut", "page", "tables", "position"])
def test_a_damaged_database(filled: Catalog, registry: RegistryFolder, damage: str) -> None:
    before = dump(registry)
    filled.close()
    data = registry.catalog.read_bytes()
    if damage == "overwritten":
        registry.catalog.write_bytes(b"not a database at all" * 1000)
    elif damage == "cut":
        registry.catalog.write_bytes(data[: len(data) // 2])
    elif damage == "page":
        registry.catalog.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    else:
        table = "versions" if damage == "tables" else "log_position"
        with closing(sqlite3.connect(registry.catalog)) as connection:
            connection.execute(f"ALTER TABLE {table} RENAME TO other")
            connection.commit()
    with pytest.raises(RegistryError) as caught, Catalog.open(registry) as opened:
        opened.versions()
    assert "dsvd catalog rebuild" in caught.value.hint
    found = rebuild(registry)
    assert found.set_aside == registry.root / "catalog.sqlite.damaged-1"
    assert found.set_aside.exists()
    assert dump(registry) == before
    with Catalog.open(registry) as opened:
        assert len(opened.versions()) == 3


@pytest.mark.parametrize("database", ["postgresql"])
def test_lost_tables_in_postgresql(filled: Catalog, home: Home) -> None:
    """A database that is no file cannot be set aside: who has it says what becomes of it."""
    home.run("DROP TABLE tags")
    for call in (filled.versions, lambda: filled.add_tag("a", 1, "x")):
        with pytest.raises(RegistryError, match="tags") as caught:
            call()
        assert "dsvd catalog rebuild" in caught.value.hint
    with pytest.raises(RegistryError) as caught:
        rebuild(home.registry, home.url)
    assert caught.value.hint.startswith("Empty that database")
    home.run("DROP SCHEMA public CASCADE")
    home.run("CREATE SCHEMA public")
    assert rebuild(home.registry, home.url) == COUNTS


def test_the_second_damaged_file_gets_another_name(registry: RegistryFolder) -> None:
    for number in (1, 2):
        registry.catalog.write_bytes(b"x" * 5000)
        assert rebuild(registry).set_aside == registry.root / f"catalog.sqlite.damaged-{number}"
        for path in registry.root.glob("catalog.sqlite-*"):
            path.unlink()


def test_a_lost_position_row(filled: Catalog, home: Home) -> None:
    before = home.dump()
    home.run("DELETE FROM log_position")
    with pytest.raises(RegistryError) as caught:
        filled.set_note("b", 1, "x")
    assert "dsvd catalog rebuild" in caught.value.hint
    assert rebuild(home.registry, home.url) == COUNTS
    assert home.dump() == before


def test_a_damaged_log_changes_nothing(filled: Catalog, home: Home) -> None:
    before = home.dump()
    sorted(home.registry.events.glob("*/*"))[5].unlink()
    with pytest.raises(RegistryError, match="event 6 is missing"):
        rebuild(home.registry, home.url)
    assert home.dump() == before


@pytest.mark.parametrize("database", ["sqlite"])
def test_a_log_shorter_than_the_catalog(filled: Catalog, registry: RegistryFolder) -> None:
    sorted(registry.events.glob("*/*"))[-1].unlink()
    with pytest.raises(RegistryError, match=f"differ at event {COUNTS.events}") as caught:
        filled.set_note("a", 1, "x")
    assert "dsvd catalog rebuild" in caught.value.hint
    found = rebuild(registry)
    assert found.events == COUNTS.events - 1
    assert found.set_aside is not None
    with closing(sqlite3.connect(found.set_aside)) as connection:
        notes = connection.execute("SELECT note FROM versions").fetchall()
    assert ("new note",) in notes
    assert filled.version("b").note == "note d"
    filled.set_note("a", 1, "x")
    assert len(list(EventLog(registry).after())) == COUNTS.events


def test_opening_sees_a_log_shorter_than_the_catalog(
    filled: Catalog, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at one file shows it, in any log. Seen to fail without `check_shown` there."""
    registry = home.registry
    last = sorted(registry.events.glob("*/*"))[-1]
    data = last.read_bytes()
    before = home.dump()
    last.unlink()
    for _ in range(2):
        with pytest.raises(RegistryError, match=f"differ at event {COUNTS.events}") as caught:
            home.open()
        assert "dsvd catalog rebuild" in caught.value.hint
    with pytest.raises(RegistryError, match=f"differ at event {COUNTS.events}"):
        filled.referenced_objects()
    # Another event in its place, or a link, is not the one that the catalog shows.
    *_, (position, _) = EventLog(registry).after()
    EventLog(registry).append(position, TIME, [NoteSet(model="a", number=1, text="other")])
    with pytest.raises(RegistryError, match=f"differ at event {COUNTS.events}"):
        home.open()
    last.rename(registry.root / "elsewhere")
    last.symlink_to(registry.root / "elsewhere")
    with pytest.raises(RegistryError, match=f"differ at event {COUNTS.events}"):
        home.open()
    last.unlink()
    last.write_bytes(data)
    monkeypatch.setattr(EventLog, "_decoded", None)  # no other event is read for it
    home.open().close()
    assert home.dump() == before


def test_an_event_that_does_not_fit(filled: Catalog, home: Home) -> None:
    EventLog(home.registry).append(
        filled.last_event(), TIME, [NoteSet(model="zebra", number=1, text="")]
    )
    with pytest.raises(RegistryError, match=f"event {COUNTS.events + 1} does not fit"):
        filled.set_note("a", 1, "x")
    with pytest.raises(RegistryError, match=f"event {COUNTS.events + 1} does not fit"):
        home.open()


def test_rows_that_the_database_refuses_leave_no_event(
    filled: Catalog, add: Add, home: Home
) -> None:
    if home.is_sqlite:
        home.run("CREATE TRIGGER no BEFORE INSERT ON tags BEGIN SELECT RAISE(ABORT, 'no'); END")
    else:
        home.run("ALTER TABLE tags ADD CONSTRAINT no CHECK (name <> 'x')")
    with pytest.raises(RegistryError):
        filled.add_tag("a", 1, "x")
    assert len(list(EventLog(home.registry).after())) == COUNTS.events
    assert add("a").number == 4
