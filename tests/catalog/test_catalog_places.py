"""Places where SQLite is not reliable: they are refused, and the URL of a database is suggested."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.catalog import Catalog, network, rebuild
from dsvd_registry.errors import InvalidArgument, RegistryError
from dsvd_registry.store import RegistryFolder

LOCAL = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw\n"


@pytest.fixture
def database() -> str:
    """These tests are about SQLite's own files."""
    return "sqlite"


def mount(place: Path, kind: str, options: str = "") -> str:
    """A line of mountinfo; see proc_pid_mountinfo(5)."""
    escaped = str(place).replace("\\", r"\134").replace(" ", r"\040")
    return f"99 27 0:50 / {escaped} rw,relatime {options}- {kind} server:/export rw,vers=3\n"


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the kernel's list of mounts be one of ours: a real network filesystem needs a network."""

    def say(*lines: str) -> None:
        (tmp_path / "mountinfo").write_text(LOCAL + "".join(lines))
        monkeypatch.setattr(network, "MOUNTS", tmp_path / "mountinfo")

    return say


def test_this_machine_tells() -> None:
    """The tests do not run on a network filesystem, and the list of mounts can be read."""
    assert network.network_filesystem(Path("/proc/self")) is None
    assert network.network_filesystem(Path.cwd()) is None


@pytest.mark.parametrize(
    ("kind", "network_type"),
    [
        ("nfs", "nfs"),
        ("nfs4", "nfs4"),
        ("cifs", "cifs"),
        ("smb3", "smb3"),
        ("fuse.sshfs", "sshfs"),
        ("ceph", "ceph"),
        ("fuse.glusterfs", "glusterfs"),
        ("lustre", "lustre"),
        ("afs", "afs"),
        ("ext4", None),
        ("tmpfs", None),
        ("overlay", None),
        ("btrfs", None),
        ("fuse.ntfs-3g", None),
        ("9p", None),
    ],
)
def test_kinds(
    mounts: Callable[..., None], tmp_path: Path, kind: str, network_type: str | None
) -> None:
    mounts(mount(tmp_path, kind, options="shared:7 master:1 "))
    assert network.network_filesystem(tmp_path / "new" / "catalog.sqlite") == network_type
    assert network.network_filesystem(tmp_path.parent) is None


def test_which_mount_counts(mounts: Callable[..., None], tmp_path: Path) -> None:
    """The longest, of whole names, through links; of two at one place the later."""
    inner = tmp_path / "a b\\c"
    inner.mkdir()
    (tmp_path / "link").symlink_to(inner)
    mounts(mount(tmp_path, "nfs"), mount(inner, "ext4"))
    assert network.network_filesystem(inner / "x") is None
    assert network.network_filesystem(tmp_path / "x") == "nfs"
    mounts(mount(inner, "nfs"))
    assert network.network_filesystem(tmp_path / "link" / "x") == "nfs"
    assert network.network_filesystem(tmp_path / "a b\\cd") is None
    mounts(mount(inner, "ext4"), mount(inner, "nfs4"))
    assert network.network_filesystem(inner) == "nfs4"
    mounts(mount(inner, "nfs4"), mount(inner, "ext4"))
    assert network.network_filesystem(inner) is None
    mounts("damaged\n", "- nfs\n", "\n")
    assert network.network_filesystem(inner) is None


def test_a_network_filesystem_is_refused(
    mounts: Callable[..., None], tmp_path: Path, catalog: Catalog, registry: RegistryFolder
) -> None:
    """Seen to fail without `check_local` in `connect`: SQLite goes on there."""
    catalog.close()
    mounts(mount(tmp_path, "nfs4"))
    calls: tuple[Callable[[], object], ...] = (
        lambda: Catalog.open(registry),
        lambda: Catalog.open(registry, f"sqlite:///{tmp_path / 'other.sqlite'}"),
        lambda: rebuild(registry),
        lambda: Registry.init(tmp_path / "new"),
    )
    for call in calls:
        with pytest.raises(RegistryError, match="nfs4") as caught:
            call()
        assert "--catalog" in caught.value.hint
        assert "DSVD_CATALOG" in caught.value.hint
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "other.sqlite").exists()
    # A database elsewhere is what was asked for.
    mounts(mount(registry.root, "nfs4"))
    with Catalog.open(registry, f"sqlite:///{tmp_path / 'other.sqlite'}") as opened:
        assert [base.name for base in opened.bases()] == ["sd15"]


@pytest.mark.parametrize("is_there", [False, True])
def test_the_wal_is_refused(registry: RegistryFolder, tmp_path: Path, is_there: bool) -> None:
    """SQLite's own way of doing without shared memory, `unix-dotfile`, has no WAL either.

    Seen to fail where the mode is not looked at: SQLite goes on with a rollback journal.
    """
    path = tmp_path / "dotfile.sqlite"
    if is_there:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE there (id)")
    with pytest.raises(RegistryError, match="write-ahead log") as caught:
        Catalog.open(registry, f"sqlite:///file:{path}?vfs=unix-dotfile&uri=true")
    assert "--catalog" in caught.value.hint
    assert not path.with_name("dotfile.sqlite.lock").exists()


SECRET = "pass-word-7"
URLS = (
    f"nosuchdb://me:{SECRET}@host/x",
    f"oracle+nosuchdriver://me:{SECRET}@host/x",
    f"postgresql://me:{SECRET}@host:port/x",
    f"me:{SECRET}@host/x",
    f"sqlite://me:{SECRET}@host/x",
)


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_not_shown(registry: RegistryFolder, url: str) -> None:
    """Nor in what the error came from. Seen to fail with the reason of SQLAlchemy in the message."""
    with pytest.raises((InvalidArgument, RegistryError, OSError)) as caught:
        Catalog.open(registry, url)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {getattr(error, 'hint', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_catalog_is_private_to_the_umask(registry: RegistryFolder) -> None:
    mask = os.umask(0o077)
    try:
        Catalog.open(registry).close()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(registry.catalog.stat().st_mode) & 0o077 == 0
