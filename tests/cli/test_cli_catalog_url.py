"""The catalog in a database that the user names: --catalog and DSVD_CATALOG."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from postgresql_server import PostgresqlServer

from dsvd_registry import Registry
from dsvd_registry.catalog import network

from .conftest import Dsvd

SECRET = "pass-word-7"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"


def test_the_option_before_and_after_the_command(
    dsvd: Dsvd, here: Path, checkpoints: Path, tmp_path: Path, url: str
) -> None:
    """The whole work with it, and nothing beside it in the registry's folder."""
    there = ("--registry", "there")
    assert dsvd("init", "there", "--catalog", url).code == 0
    base = ("base", "add", "sd15", checkpoints / "base.safetensors")
    assert dsvd(*there, *base, "--catalog", url).code == 0
    add = ("add", checkpoints / "ft.safetensors", "--base", "sd15", "--name", "subject-42")
    assert dsvd(*there, "--catalog", url, *add).code == 0
    listed = dsvd(*there, "--catalog", url, "ls", "--json").document
    assert [version["ref"] for version in listed] == ["subject-42@1"]
    assert dsvd(*there, "verify", "--all", "--deep", "--catalog", url).code == 0
    assert dsvd(*there, "materialize", "subject-42", "-o", "out", "--catalog", url).code == 0
    assert list((here / "there").glob("catalog*")) == []
    with Registry.open("there", catalog=url) as registry:
        assert registry.version("subject-42").number == 1

    copy = dsvd(*there, "catalog", "backup", "copy.sqlite", "--catalog", url)
    assert copy.code == 0
    (tmp_path / "elsewhere.sqlite").unlink()
    found = dsvd(*there, "catalog", "rebuild", "--catalog", url)
    assert found.out.startswith("rebuilt from 2 events: 1 base, 1 model, 1 version")
    tables = ("bases", "models", "versions")
    with (
        closing(sqlite3.connect("copy.sqlite")) as before,
        closing(sqlite3.connect(tmp_path / "elsewhere.sqlite")) as after,
    ):
        for table in tables:
            query = f"SELECT * FROM {table}"
            assert before.execute(query).fetchall() == after.execute(query).fetchall()


def test_the_catalog_in_postgresql(
    dsvd: Dsvd, here: Path, checkpoints: Path, postgresql: PostgresqlServer
) -> None:
    """The whole work with it, and the errors of those who have another address."""
    with postgresql.database() as name:
        there = ("--registry", "there", "--catalog", postgresql.url(name))
        assert dsvd("init", "there", "--catalog", postgresql.url(name)).code == 0
        assert dsvd(*there, "base", "add", "sd15", checkpoints / "base.safetensors").code == 0
        add = ("add", checkpoints / "ft.safetensors", "--base", "sd15", "--name", "subject-42")
        assert dsvd(*there, *add, "--lossless", "--tag", "style").code == 0
        listed = dsvd(*there, "ls", "SUB*", "--json").document
        assert listed == []
        assert dsvd(*there, "ls", "sub*").out.count("subject-42@1") == 1
        assert dsvd(*there, "show", "subject-42@latest").code == 0
        assert dsvd(*there, "verify", "--all", "--deep").code == 0
        assert dsvd(*there, "materialize", "subject-42", "-o", "out").code == 0
        assert Path("out").read_bytes() == (checkpoints / "ft.safetensors").read_bytes()
        assert list((here / "there").glob("catalog*")) == []
        found = dsvd(*there, "catalog", "rebuild")
        assert found.out.startswith("rebuilt from 2 events: 1 base, 1 model, 1 version")
        assert dsvd(*there, "catalog", "backup", "copy").code == 2
        assert dsvd("init", "new", "--catalog", postgresql.url(name)).code == 8
        assert not Path("new").exists()
    gone = dsvd(*there, "ls", "--json")
    assert gone.code == 8
    assert f'database "{name}" does not exist' in gone.error["message"]
    wrong = postgresql.url_over_tcp(name, SECRET)
    refused = dsvd("--registry", "there", "ls", "--catalog", wrong)
    assert refused.code == 8
    assert "password authentication failed" in refused.err
    assert SECRET not in refused.out + refused.err


def test_the_environment(
    dsvd: Dsvd, filled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    """DSVD_CATALOG is used by everything, Python too; the option goes before it."""
    monkeypatch.setenv("DSVD_CATALOG", url)
    assert len(dsvd("ls", "--json").document) == 2
    assert (tmp_path / "elsewhere.sqlite").exists()
    with Registry.open() as registry:
        assert registry.repository.catalog._database.where == str(tmp_path / "elsewhere.sqlite")
    assert Registry.rebuild_catalog().versions == 2
    other = tmp_path / "other.sqlite"
    assert dsvd("ls", "--catalog", f"sqlite:///{other}").code == 0
    assert other.exists()
    monkeypatch.setenv("DSVD_CATALOG", "")
    assert len(dsvd("ls", "--json").document) == 2
    assert filled.is_dir()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("ls",), 2),
        (("ls", "--json"), 2),
        (("catalog", "rebuild"), 2),
        (("catalog", "backup", "copy"), 2),
        (("init", "new"), 2),
    ],
)
@pytest.mark.parametrize("kind", ["nosuchdb", "postgresql+nosuchdriver", ""])
def test_a_password_is_not_shown(
    dsvd: Dsvd, here: Path, words: tuple[str, ...], code: int, kind: str
) -> None:
    """The password of an unusable URL is not shown, and nothing is made."""
    found = dsvd(*words, "--catalog", f"{kind}://me:{SECRET}@host/x")
    assert found.code == code, found
    assert SECRET not in found.out + found.err
    assert "URL" in found.err
    assert not (here / "new").exists()


def test_a_network_filesystem(
    dsvd: Dsvd, filled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    """It is said, and what was asked for works. Seen to fail without `check_local` in `connect`."""
    mounts = f"1 0 8:1 / / rw - ext4 /dev/vda rw\n9 1 0:9 / {filled} rw - nfs4 server:/ rw\n"
    (tmp_path / "mountinfo").write_text(mounts)
    monkeypatch.setattr(network, "MOUNTS", tmp_path / "mountinfo")
    refused = dsvd("ls")
    assert refused.code == 8
    assert "network filesystem (nfs4)" in refused.err
    assert "--catalog or DSVD_CATALOG" in refused.err
    assert len(dsvd("ls", "--catalog", url, "--json").document) == 2
