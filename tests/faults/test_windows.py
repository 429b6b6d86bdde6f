"""The refusals of Windows, simulated here by what its documents say; no test ran there.

A file with the read-only attribute can be renamed, but neither deleted nor replaced, by any of its
names. A rename never replaces. A folder can be neither opened nor synced. The attribute belongs to the
file, not to the name. Seen to fail with `_make_removable` left out of each of `replace`, `unlink` and
`remove_tree`, with `link` and `unlink` in the place of the rename, and with folders synced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry import Registry, fs
from dsvd_registry.errors import Conflict
from dsvd_registry.fs import disk

from .scenarios import SCENARIOS, base, prepare, run, version, write_sources


@pytest.fixture
def _windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = {name: getattr(disk, name) for name in ("rename", "replace", "unlink", "remove_tree")}

    def denied(path: Path) -> PermissionError:
        return PermissionError(errno.EACCES, "Access is denied", str(path))

    def is_read_only(path: Path) -> bool:
        return path.is_file() and not path.stat().st_mode & stat.S_IWRITE

    def rename(path: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        real["rename"](path, target)

    def replace(path: Path, target: Path) -> None:
        if is_read_only(target):
            raise denied(target)
        real["replace"](path, target)

    def unlink(path: Path) -> None:
        if is_read_only(path):
            raise denied(path)
        real["unlink"](path)

    def remove_tree(path: Path) -> None:
        for file in path.rglob("*"):
            if is_read_only(file):
                raise denied(file)
        real["remove_tree"](path)

    def no_folder(folder: Path) -> None:
        raise denied(folder)

    def no_link(path: Path, target: Path) -> None:
        raise AssertionError("a second name of a read-only file could not be taken away")

    monkeypatch.setattr(disk, "WINDOWS", True)
    calls: dict[str, Any] = {
        "rename": rename,
        "replace": replace,
        "unlink": unlink,
        "remove_tree": remove_tree,
        "sync_folder": no_folder,
        "link": no_link,
    }
    for name, call in calls.items():
        monkeypatch.setattr(disk, name, call)
    yield


@pytest.mark.usefixtures("_windows")
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_command(tmp_path: Path, name: str) -> None:
    at = tmp_path / "at"
    at.mkdir()
    prepare(SCENARIOS[name], at)
    run(SCENARIOS[name], at)
    with Registry.open(at / "registry") as registry:
        assert registry.verify(deep=True).is_well
        assert registry.collect_garbage(grace_days=-1).temporary_files == 0
        assert registry.verify(deep=True).is_well
    assert not any((at / "registry/tmp").iterdir())


@pytest.mark.usefixtures("_windows")
def test_a_damaged_object_is_replaced(tmp_path: Path) -> None:
    """Though it is read-only; and what is put in its place is so again."""
    write_sources(tmp_path)
    with Registry.init(tmp_path / "registry") as registry:
        base(registry, tmp_path)
        version(registry, tmp_path)
        sha256 = registry.version("one").container
        place = tmp_path / "registry/objects" / sha256[:2] / sha256
        place.chmod(0o644)
        place.write_bytes(b"damaged")
        place.chmod(0o444)
        assert not registry.verify().is_well
        version(registry, tmp_path)
        assert registry.verify(deep=True).is_well
    assert not place.stat().st_mode & 0o222


@pytest.mark.usefixtures("_windows")
def test_an_event_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(Conflict):
        fs.write_file(tmp_path / "there", b"another", read_only=True)
    with pytest.raises(Conflict):
        fs.rename(tmp_path / "there", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"there": b"mine"}


@pytest.mark.usefixtures("_windows")
def test_read_only_files_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    fs.make_folder(folder)
    for place in (folder, tmp_path):
        fs.write_file(place / "file", b"1", read_only=True)
    with fs.new_file(tmp_path) as file:  # left without a name
        disk.make_read_only(file.path)
    fs.remove_file(tmp_path / "file")
    fs.remove_temporary(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
