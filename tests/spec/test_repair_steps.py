"""What `verify --repair` does to the disk, step by step, and what a kill at each step leaves."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.hashing import sha256_file

from .recording import install_hook, recording
from .test_store_spec import expanded, matches, rows

ONE, TWO = "one@1", "two@1"


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    install_hook()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry, and with what was put into it."""
    at = tmp_path_factory.mktemp("made")
    torch.manual_seed(1)
    base = {"w": torch.randn(24, 16), "b": torch.randn(24)}
    save_file(base, at / "base.safetensors")
    save_file({n: w + 0.01 * torch.randn(w.shape) for n, w in base.items()}, at / "tuned")
    with Registry.init(at / "registry") as registry:
        registry.add_base("sd15", at / "base.safetensors")
        for name, tau in (("one", 0.8), ("two", 0.4)):
            registry.add(at / "tuned", base="sd15", name=name, tau=tau)
        registry.export_container(ONE, at / "one.dsvd")
    shutil.copytree(at / "registry", at / "copy")
    return at


def flip(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    return path


def container(root: Path, ref: str = ONE) -> Path:
    with Registry.open(root) as registry:
        digest = registry.version(ref).container
    return root / "objects" / digest[:2] / digest


def other_rows(root: Path) -> None:
    with closing(sqlite3.connect(root / "catalog.sqlite")) as database:
        database.execute("UPDATE versions SET note = 'other'")
        database.commit()


def no_database(root: Path) -> None:
    (root / "catalog.sqlite").write_bytes(b"no database" * 500)


@dataclass(frozen=True)
class Case:
    """Damage to a registry, and where good bytes are; `lost`: what stays lost."""

    damage: Callable[[Path], object]
    sources: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    row: str | None = None


CASES = {
    "event": Case(
        lambda root: flip(next((root / "events").rglob("*2.json"))),
        ("copy/events",),
        row="an event, and good bytes are there",
    ),
    "rows": Case(other_rows, row="rows of the catalog"),
    "database": Case(no_database),
    "restored": Case(
        lambda root: flip(container(root)), ("one.dsvd",), row="an object, and good bytes are there"
    ),
    "missing": Case(lambda root: container(root).unlink(), ("one.dsvd",)),
    "lost": Case(
        lambda root: flip(container(root)),
        lost=(ONE,),
        row="an object, and no good bytes are there",
    ),
    "all at once": Case(
        lambda root: [flip(container(root)), flip(container(root, TWO)), other_rows(root)],
        ("one.dsvd",),
        lost=(TWO,),
    ),
}


def test_told() -> None:
    assert [row[0] for row in rows("Steps of a repair")] == [
        CASES[name].row for name in ("event", "rows", "restored", "lost")
    ]


@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_step(made: Path, tmp_path: Path, name: str) -> None:
    """The steps are those of the table; killed at any, nothing more is lost, and a second run ends it.

    Seen to fail: with the move as a plain renaming (the table), with the damaged file deleted instead
    of moved, and with `move` refusing a name that it gave itself before the kill.
    """
    case = CASES[name]
    root, copies = tmp_path / "registry", tmp_path / "copies"
    shutil.copytree(made / "registry", root)
    sources = [made / source for source in case.sources]
    case.damage(root)
    for place in root.glob("catalog.sqlite-*"):
        place.unlink()
    damaged = bytes_of_damaged(root)
    with recording(root, copies) as recorder:
        recorder.on = True
        done = Registry.repair(root, sources=sources)
        recorder.on = False
    ends = outcome(root, done.is_well)
    assert done.is_well is (case.lost == ())
    if case.row is not None:
        (cell,) = [row[1] for row in rows("Steps of a repair") if row[0] == case.row]
        told = bracketed(cell)
        assert matches(recorder.steps, told), recorder.steps
    states = sorted(copies.glob("*"), key=lambda path: int(path.name))
    assert len(states) >= 4
    for copy in states:
        where = (name, recorder.steps[: int(copy.name)])
        if case.lost:
            for data in damaged:
                # Either it is restored by now, or its damaged bytes lie somewhere.
                assert data in set(bytes_of_damaged(copy)) or restored(copy, made), where
        again = Registry.repair(copy, sources=sources)
        assert outcome(copy, again.is_well) == ends, where
        with Registry.open(copy) as registry:
            registry.collect_garbage(grace_days=0)
            for ref in {ONE, TWO} - set(case.lost):
                assert registry.verify(ref, deep=True).is_well, where


def bracketed(cell: str) -> list[tuple[str, bool]]:
    """As `expanded`, with what stands in brackets as what may be left out."""
    optional = set(re.findall(r"\[`([^`]*)`\]", cell))
    return [(step, may or step in optional) for step, may in expanded(cell)]


def bytes_of_damaged(root: Path) -> list[bytes]:
    """Of objects, in their place or set aside, that do not have the SHA-256 of their name."""
    places = [*(root / "objects").glob("*/*"), *(root / "quarantine").glob("*")]
    return [path.read_bytes() for path in places if sha256_file(path) != path.name[:64]]


def restored(root: Path, made: Path) -> bool:
    return sha256_file(container(root)) == sha256_file(made / "one.dsvd")


def outcome(root: Path, is_well: bool) -> tuple[object, ...]:
    """What a repair came to: objects and what was set aside, by name; what was set aside is whole."""
    names = [
        sorted(path.name for path in (root / folder).rglob("*") if path.is_file())
        for folder in ("objects", "events", "quarantine")
    ]
    for path in (root / "objects").glob("*/*"):
        assert sha256_file(path) == path.name
    return is_well, *names
