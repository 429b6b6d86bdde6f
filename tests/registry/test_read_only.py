"""A registry that may only be read is read, whatever state its catalog is in, and stays as it is.

Seen to fail with `snapshot.may_write` always true: then SQLite wants to make files beside the catalog,
and can do without only where the `-wal` and `-shm` of a program are there already.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dsvd_registry import Registry

from . import unprivileged
from .conftest import Child, Pair, sha256

READS = (
    "ls",
    "show subject",
    "show subject@1 --tensors",
    "log subject",
    "diff subject@1 subject@2",
    "diff subject --base",
    "verify",
    "verify --all --deep",
    "du",
    "base ls",
    "base show sd15",
    "curve subject@1",
    "materialize subject -o {out}/full.safetensors",
    "export subject --format dsvd -o {out}/it.dsvd",
    "materialize subject -o {out}/lower.safetensors --tau 0.3",
)
WRITES = (
    "add {tuned} --base sd15 --name other",
    "add {tuned} --base sd15 --name subject --note new",
    "import {out}/it.dsvd --name copy",
    "base add other {tuned}",
    "base rm sd15",
    "rm subject --yes",
    "alias set prod subject@1",
    "alias rm subject@best",
    "tag add subject x",
    "tag rm subject good",
    "note subject text",
    "gc",
    "gc --grace 0",
    "catalog backup",
    "catalog backup {out}/catalog.sqlite",
    "catalog rebuild",
)


def entries(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that there is: kind and permissions, times, contents."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ino, data)
    return found


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write to the folder, and nothing in it changes."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        before = entries(folder)
        yield
        assert entries(folder) == before
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def labelled(root: Path, pair: Pair) -> Path:
    """The registry with two versions and labels, closed."""
    with Registry.open(root) as registry:
        registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.5, note="second")
        registry.add_tag("subject@2", "good")
        registry.set_alias("best", "subject@2")
    return root


def run(root: Path, commands: tuple[str, ...], **places: Path) -> list[tuple[int, str]]:
    words = [["--registry", str(root), *line.format(**places).split()] for line in commands]
    found = Child(unprivileged.run, words).reports()
    assert len(found) == len(commands)
    return [(int(code or 0), said) for code, said in found]


def test_every_command(labelled: Path, pair: Pair, tmp_path: Path) -> None:
    """Commands that read work; those that write end with exit code 9 and a hint, and leave nothing."""
    places = {"out": tmp_path / "out", "tuned": pair.tuned_file}
    places["out"].mkdir()
    usual = run(labelled, READS, **places)
    assert [code for code, _ in usual] == [0] * len(READS)
    made = {path.name: sha256(path) for path in places["out"].iterdir()}
    assert len(made) == 4  # with the description beside the container
    for path in places["out"].iterdir():
        path.unlink()
    with read_only(labelled):
        assert run(labelled, READS, **places) == usual
        assert {path.name: sha256(path) for path in places["out"].iterdir()} == made
        for line, (code, said) in zip(WRITES, run(labelled, WRITES, **places), strict=True):
            assert code == 9, (line, said)
            assert "hint:" in said, line
            assert "permissions" in said, line


def as_it_is(root: Path) -> None:
    del root


def never_made(root: Path) -> None:
    (root / "catalog.sqlite").unlink()


def damaged(root: Path) -> None:
    data = (root / "catalog.sqlite").read_bytes()
    (root / "catalog.sqlite").write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def no_database(root: Path) -> None:
    (root / "catalog.sqlite").write_bytes(b"no database at all" * 1000)


def behind(root: Path) -> None:
    """Rows that a program did not live to commit."""
    copy = root.with_name("copy.sqlite")
    shutil.copy(root / "catalog.sqlite", copy)
    with Registry.open(root) as registry:
        registry.set_note("subject@1", "a later one")
    shutil.copy(copy, root / "catalog.sqlite")


def with_a_log(root: Path) -> None:
    """A catalog as a crash leaves it: the last commit is only in SQLite's `-wal`."""
    with Registry.open(root) as registry:
        registry.set_note("subject@1", "a later one")
        for path in root.glob("catalog.sqlite*"):
            shutil.copy(path, root.with_name(path.name))
    for path in root.parent.glob("catalog.sqlite*"):
        shutil.copy(path, root / path.name)
    assert (root / "catalog.sqlite-wal").stat().st_size > 0


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (as_it_is, ""),
        (never_made, ""),
        (damaged, ""),
        (no_database, ""),
        (behind, "a later one"),
        (with_a_log, "a later one"),
    ],
)
def test_states_of_the_catalog(
    labelled: Path, pair: Pair, state: Callable[[Path], None], note: str
) -> None:
    """Everything is read, whatever the catalog holds."""
    state(labelled)
    with read_only(labelled):
        ((labels, total, well),) = Child(unprivileged.read, labelled).reports()
    assert labels == [("subject@1", note, ()), ("subject@2", "second", ("good",))]
    assert total == sum(tensor.numel() for tensor in pair.tuned.values())
    assert well


def test_while_its_owner_has_it_open(labelled: Path) -> None:
    """The owner's last commit is read, though it is only in SQLite's `-wal`."""
    with Registry.open(labelled) as registry:
        registry.set_note("subject@1", "from the owner")
        with read_only(labelled):
            ((labels, _, well),) = Child(unprivileged.read, labelled).reports()
    assert labels[0] == ("subject@1", "from the owner", ())
    assert well


def test_on_a_network_filesystem(labelled: Path, tmp_path: Path) -> None:
    """It needs none of SQLite's locks there, and takes nothing from the database that others write.

    Seen to fail without that question in `SnapshotDatabase`: a row half written is shown.
    """
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"9 1 0:9 / {tmp_path} ro - nfs4 server:/ ro\n")
    with closing(sqlite3.connect(labelled / "catalog.sqlite")) as connection:
        connection.execute("UPDATE versions SET note = 'half written'")
        connection.commit()
    with read_only(labelled):
        ((labels, _, well),) = Child(unprivileged.read, labelled, mounts).reports()
    assert [note for _, note, _ in labels] == ["", "second"]
    assert well


def test_a_log_that_is_older_than_the_catalog(labelled: Path) -> None:
    sorted(labelled.glob("events/*/*"))[-1].unlink()
    with read_only(labelled):
        ((code, said),) = run(labelled, ("ls",))
    assert code == 8
    assert "differ at event" in said
