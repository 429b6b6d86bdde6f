"""The work of the catalog must not grow with its content: statements are counted, not timed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dsvd_registry.catalog import Catalog, Wanted
from dsvd_registry.catalog.database import Rows
from dsvd_registry.catalog.postgresql import PostgresqlConnection, _in_psycopgs_words
from dsvd_registry.catalog.sqlite import SqliteDatabase
from dsvd_registry.store import EventLog, event_log

from .conftest import BASE, Home

Add = Callable[..., Any]

READS: dict[str, Callable[[Catalog], Any]] = {
    "versions": Catalog.versions,
    "bases": Catalog.bases,
    "models": Catalog.models,
    "pattern": lambda catalog: catalog.versions("subject-*"),
    "name": lambda catalog: catalog.versions("subject-1"),
    "base": lambda catalog: catalog.versions(base="sd15"),
    "tag": lambda catalog: catalog.versions(tag="x"),
    "since": lambda catalog: catalog.versions(since=datetime(2020, 1, 1, tzinfo=UTC)),
    "version": lambda catalog: catalog.version("subject-1"),
    "number": lambda catalog: catalog.version("subject-1@1"),
    "alias": lambda catalog: catalog.version("subject-1@prod"),
    "history": lambda catalog: catalog.history("subject-1"),
    "second add": lambda catalog: catalog.find_version("c" * 64, BASE, '{"tau":0.5}'),
    "page": lambda catalog: catalog.page(
        Wanted(words=("subject",), tag="x", newest_only=False), 0, 24
    ),
    "tags": Catalog.tags,
    "gc": Catalog.referenced_objects,
}
# What looks a few rows up; the others list or count rows.
LOOKUPS = ("name", "tag", "version", "number", "alias", "history", "second add")


def populate(add: Add, catalog: Catalog, models: int) -> None:
    for index in range(models):
        model = f"subject-{index}"
        for digit in "cd":
            add(model, digit)
        catalog.set_alias(model, "prod", 1)
        catalog.add_tag(model, 2, "x")


def write(catalog: Catalog) -> None:
    """Write in several ways; what is listed is then as it was."""
    catalog.add_tag("subject-1", 1, "new")
    catalog.remove_tag("subject-1", 1, "new")
    catalog.set_alias("subject-1", "best", 1)
    catalog.remove_alias("subject-1", "best")
    catalog.set_note("subject-1", 1, "text")
    catalog.set_note("subject-1", 1, "")


def statements(catalog: Catalog, call: Callable[[Catalog], Any]) -> list[str]:
    """The statements that a call sends to the database, with their values."""
    said: list[str] = []
    database = catalog._database
    if isinstance(database, SqliteDatabase):
        (connection,) = database._idle
        connection.set_trace_callback(said.append)
        call(catalog)
        connection.set_trace_callback(None)
        return said

    execute = PostgresqlConnection.execute

    def say(connection: PostgresqlConnection, statement: str, values: Any = None, /) -> Rows:
        words = _in_psycopgs_words(statement)
        said.append(psycopg.ClientCursor(connection.driver).mogrify(words, values or {}))
        return execute(connection, statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresqlConnection, "execute", say)
        call(catalog)
    return said


@pytest.mark.usefixtures("quick")
def test_the_number_of_statements_is_fixed(catalog: Catalog, add: Add) -> None:
    counts = []
    for models in (3, 30):
        populate(add, catalog, models)
        counted = {name: len(statements(catalog, call)) for name, call in READS.items()}
        counts.append(counted | {"writing": len(statements(catalog, write))})
    assert counts[0] == counts[1] and all(counts[0].values())
    assert max(counts[0][name] for name in READS) <= 10


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups_use_an_index(catalog: Catalog, add: Add, home: Home, name: str) -> None:
    populate(add, catalog, 3)
    asked = [said for said in statements(catalog, READS[name]) if "SELECT" in said]
    assert asked
    explain = "EXPLAIN QUERY PLAN" if home.is_sqlite else "EXPLAIN"
    if not home.is_sqlite:
        # Tables of a few rows are read whole, unless it is told not to where it need not.
        ((name,),) = home.run("SELECT current_database()")
        home.run(f"ALTER DATABASE {name} SET enable_seqscan = off")
    for statement in asked:
        plan = [str(step[-1]) for step in home.run(f"{explain} {statement}")]
        scanned = [step for step in plan if step.startswith("SCAN") or "Seq Scan" in step]
        assert [step for step in scanned if "bases" not in step] == [], statement


@pytest.fixture
def sharded(catalog: Catalog, add: Add, monkeypatch: pytest.MonkeyPatch, quick: None) -> Catalog:
    """A catalog whose event log has several folders."""
    monkeypatch.setattr(event_log, "SHARD", 10)
    for index in range(34):
        add(f"subject-{index}")
    return catalog


def test_opening_and_writing_read_the_last_event_alone(
    sharded: Catalog, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: set[str] = set()
    read: list[int] = []
    scan_folder, of = os.scandir, EventLog._data

    def scandir(folder: Any) -> Any:
        listed.add(Path(folder).name)
        return scan_folder(folder)

    def data(log: EventLog, sequence: int) -> bytes:
        read.append(sequence)
        return of(log, sequence)

    sharded.close()
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(EventLog, "_data", data)
    with home.open() as again:
        assert len(again.versions()) == 34
        write(again)
    assert min(read) == 35
    assert listed & {f"{shard:06}" for shard in range(9)} == {"000003", "000004"}
