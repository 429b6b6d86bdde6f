from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import PostgresqlServer

from dsvd_registry.catalog import ArchivedFile, Catalog, Source
from dsvd_registry.store import RegistryFolder, registry_folder

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).parent / "child.py"
BASE = "b" * 64
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def registry(tmp_path: Path) -> RegistryFolder:
    """A registry without a catalog."""
    return registry_folder.create(tmp_path / "registry")


@dataclass(frozen=True)
class Home:
    """The database of a catalog, and a way into it beside the catalog.

    `url`: None for SQLite in the registry's folder. `run`: executes a statement and gives its rows.
    """

    registry: RegistryFolder
    url: str | None
    run: Callable[[str], list[tuple[Any, ...]]]

    @property
    def is_sqlite(self) -> bool:
        return self.url is None

    def open(self) -> Catalog:
        return Catalog.open(self.registry, self.url)

    def dump(self) -> Rows:
        """Every row of every table, and the definitions of the tables."""
        if self.url is None:
            return dump(self.registry)
        there = self.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        columns = self.run(
            "SELECT table_name, column_name, data_type, is_nullable, collation_name "
            "FROM information_schema.columns WHERE table_schema = 'public'"
        )
        rows: Rows = {"columns": sorted(columns, key=repr)}
        for (table,) in there:
            rows[table] = sorted(self.run(f"SELECT * FROM {table}"), key=repr)
        return rows


@pytest.fixture(scope="session")
def with_base(tmp_path_factory: pytest.TempPathFactory) -> RegistryFolder:
    """A registry with one base, to be copied: alembic takes a while to make the tables."""
    made = registry_folder.create(tmp_path_factory.mktemp("template") / "registry")
    with Catalog.open(made) as opened:
        opened.add_base(
            "sd15", digest=BASE, manifest="1" * 64, file="2" * 64, size=4, format="safetensors"
        )
    return made


@pytest.fixture(scope="session")
def database_with_base(postgresql: PostgresqlServer, with_base: RegistryFolder) -> Iterator[str]:
    """The same catalog in PostgreSQL, a template for other databases."""
    with postgresql.database() as name:
        Catalog.open(with_base, postgresql.url(name)).close()
        yield name


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The kind of the database; a module whose tests are of one kind overrides it."""
    return str(request.param)


@pytest.fixture
def empty_home(
    request: pytest.FixtureRequest, registry: RegistryFolder, database: str
) -> Iterator[Home]:
    """The database of a registry's catalog, before it has tables."""
    yield from _home(request, registry, database, "template0")


@pytest.fixture
def home(
    request: pytest.FixtureRequest,
    registry: RegistryFolder,
    with_base: RegistryFolder,
    database: str,
) -> Iterator[Home]:
    """The database of the catalog of a registry that has the base `sd15`."""
    ignored = shutil.ignore_patterns("catalog.sqlite*" if database == "postgresql" else "")
    shutil.copytree(with_base.root, registry.root, dirs_exist_ok=True, ignore=ignored)
    template = "" if database == "sqlite" else request.getfixturevalue("database_with_base")
    yield from _home(request, registry, database, template)


def _home(
    request: pytest.FixtureRequest, registry: RegistryFolder, database: str, template: str
) -> Iterator[Home]:
    if database == "sqlite":
        yield Home(registry, None, partial(_run_in_sqlite, registry.catalog))
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    with server.database(template) as name:
        yield Home(registry, server.url(name), partial(server.run, database=name))


def _run_in_sqlite(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture
def catalog(home: Home) -> Iterator[Catalog]:
    with home.open() as opened:
        yield opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced: these tests do not crash."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def add(catalog: Catalog) -> Callable[..., Any]:
    """Adds a version with the fields that do not matter filled in."""
    return partial(add_to, catalog)


def add_to(catalog: Catalog, model: str, digit: str = "c", **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "container": digit * 64,
        "size": 10,
        "base": BASE,
        "source": Source("safetensors", digit * 64, 100),
        "settings": '{"tau":0.5}',
        "summary": {"tau": 0.5, "tensors": 3},
    }
    return catalog.add_version(model, **{**fields, **changes})


def digests_of(digit: str) -> dict[str, dict[str, dict[str, str]]]:
    return {
        "source": {"": {"sha256": digit * 64, "crc32": digit * 8}},
        "result": {"unet/a.safetensors": {"autov3": "ab" + digit * 62}, "b": {"sha256": "9" * 64}},
    }


def fill(catalog: Catalog) -> None:
    """Let every kind of event happen in a catalog that has the base `sd15`."""
    catalog.add_base(
        "sd14", digest="d" * 64, manifest="3" * 64, file="4" * 64, size=5, format="pickle"
    )
    catalog.add_base(
        "sd15",
        digest=BASE,
        manifest="1" * 64,
        file="5" * 64,
        size=6,
        format="pickle",
        link=Path("/x"),
        replace=True,
    )
    catalog.remove_base("sd14")
    for model, digit in (("a", "c"), ("b", "d"), ("a", "e"), ("a", "f"), ("gone", "0")):
        add_to(catalog, model, digit, note=f"note {digit}", digests=digests_of(digit))
    catalog.remove_version("a", 3)
    catalog.remove_version("gone", 1)
    for alias, number in (("prod", 1), ("beta", 1), ("prod", 2)):
        catalog.set_alias("a", alias, number)
    catalog.remove_alias("a", "beta")
    for tag in ("x", "Y"):
        catalog.add_tag("b", 1, tag)
    catalog.remove_tag("b", 1, "x")
    catalog.set_metadata("b", 1, {"trigger": "sks", "licence": "CC0"})
    catalog.set_metadata("b", 1, {"trigger": "sks dog"})
    catalog.remove_metadata("b", 1, "licence")
    for name in ("b.preview.png", "grid.png"):
        catalog.add_attachment(
            "b",
            1,
            name=name,
            role="preview",
            media_type="image/png",
            attachment="b" * 64,
            size=9,
        )
    catalog.remove_attachment("b", 1, "grid.png")
    for signer, signature in (("6", "7"), ("8", "9"), ("6", "a")):
        catalog.add_signature("b", 1, signer=signer * 64, signature=signature * 64)
    restored = {"restored": {"": {"sha256": "7" * 64}}}
    catalog.set_residual("b", 1, residual="5" * 64, size=7, digests=restored)
    catalog.set_residual("a", 2, residual="6" * 64, size=8, digests=restored)
    catalog.remove_residual("b", 1)
    catalog.add_original("b", 1)
    catalog.add_original("a", 2)
    catalog.remove_original("b", 1)
    for path, link in (("/a", None), ("/b", "/m/b"), ("/a", "/m/a")):
        leads_to = None if link is None else Path(link)
        catalog.archive_file(ArchivedFile(Path(path), "a", 2, 5, 0o644, leads_to))
    catalog.restore_file(Path("/b"))
    catalog.set_note("b", 1, "new note")


def dump(registry: RegistryFolder, database: Path | None = None) -> Rows:
    """Every row of every table, and the tables' definitions."""
    with closing(sqlite3.connect(database or registry.catalog)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        rows: Rows = {"sqlite_master": tables}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            rows[table] = sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
        return rows


def start_child(home: Home, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(home.registry.root), home.url or "", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
