"""The catalog in SQLite at a URL, which SQLAlchemy reaches, against the two other ways."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry.catalog import CachedFingerprint, Catalog, FileState, rebuild, replay
from dsvd_registry.errors import RegistryError
from dsvd_registry.store import RegistryFolder

from .conftest import BASE, Home, dump, fill

READS: tuple[Callable[[Catalog], Any], ...] = (
    Catalog.bases,
    Catalog.models,
    Catalog.versions,
    Catalog.referenced_objects,
    Catalog.check_log,
    lambda catalog: catalog.base(BASE[:6]),
    lambda catalog: catalog.version("a@prod"),
    lambda catalog: catalog.history("a"),
    lambda catalog: catalog.find_version("c" * 64, BASE, '{"tau":0.5}', model="a"),
    lambda catalog: catalog.versions("[ab]*", base="sd15", since=datetime(2020, 1, 1, tzinfo=UTC)),
    lambda catalog: catalog.versions("b", tag="y"),
)


@pytest.fixture
def elsewhere(registry: RegistryFolder, catalog: Catalog, tmp_path: Path) -> Path:
    """A database that shows the events of the registry, which has the base `sd15`."""
    return tmp_path / "elsewhere.sqlite"


def test_every_way_takes_every_statement(
    registry: RegistryFolder, catalog: Catalog, elsewhere: Path, home: Home
) -> None:
    with Catalog.open(registry, f"sqlite:///{elsewhere}") as other:
        fill(other)
        rebuild(registry, home.url)
        shown, same = dump(registry, elsewhere), home.dump()
        assert all(shown[table] == same[table] for table in replay.TABLES)
        assert shown["log_position"] == same["log_position"]
        for read in READS:
            found = read(other)
            assert found, read
            assert read(catalog) == found
        state = FileState(elsewhere, 1, 2, 3)
        other.remember_fingerprint(state, CachedFingerprint("a" * 64, None))
        assert other.cached_fingerprint(state) == CachedFingerprint("a" * 64, None)
    before = dump(registry, elsewhere)
    rebuild(registry, f"sqlite:///{elsewhere}")
    assert dump(registry, elsewhere) == before


def test_an_error_of_the_database(registry: RegistryFolder, elsewhere: Path) -> None:
    elsewhere.write_bytes(b"no database at all" * 100)
    with pytest.raises(RegistryError, match="damaged") as caught:
        Catalog.open(registry, f"sqlite:///{elsewhere}")
    assert "dsvd catalog rebuild" in caught.value.hint
    assert rebuild(registry, f"sqlite:///{elsewhere}").bases == 1


def test_a_database_of_something_else_is_left_alone(
    registry: RegistryFolder, elsewhere: Path
) -> None:
    """One that is no file cannot be set aside: it is for the user to say what becomes of it."""
    with closing(sqlite3.connect(elsewhere)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    url = f"sqlite:///file:{elsewhere}?uri=true"
    with pytest.raises(RegistryError, match="not those of a catalog") as caught:
        rebuild(registry, url)
    assert caught.value.hint == "Empty that database, or give another one, and run this again."
    with closing(sqlite3.connect(elsewhere)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
        connection.execute("DROP TABLE recipes")
    assert rebuild(registry, url).bases == 1
