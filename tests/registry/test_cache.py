"""Materialised files in a cache: whole, bounded, and shared by processes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.cache import DEFAULT_LIMIT, find_cache
from dsvd_registry.errors import BaseMismatch, InvalidArgument, NotFound, StorageError
from dsvd_registry.fs import TEMPORARY_PREFIX
from dsvd_registry.reconstruction import write_result

from . import cache_child
from .conftest import Child, files_in, flip_tensor, object_path, replace_bytes, sha256
from .test_imports import OPEN, imported

TAUS = (0.7, 0.5, 0.3)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "of files"


def age(path: Path, seconds: int) -> None:
    """Make a file look last used some time ago."""
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def made(registry: Registry, tmp_path: Path, tau: float | None = None) -> bytes:
    return registry.materialize(
        "subject", tmp_path / "made", tau=tau, replace=True
    ).path.read_bytes()


@pytest.mark.parametrize("tau", [None, 0.8, 0.3])
def test_it_is_what_is_materialised(
    registry: Registry, cache: Path, tmp_path: Path, tau: float | None
) -> None:
    path = registry.path("subject", tau=tau, cache=cache)
    assert path.parent == cache
    assert path.suffix == ".safetensors"
    assert path.read_bytes() == made(registry, tmp_path, tau)
    assert not path.stat().st_mode & 0o222
    if tau is None:
        assert path.stem == sha256(path)
    else:
        assert path == registry.path("subject@1", tau=tau, cache=cache)


def test_what_is_there_is_not_made_again(
    registry: Registry, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = registry.path("subject", cache=cache)
    age(path, 1000)
    before = path.stat()
    monkeypatch.delattr(write_result, "write_cached")
    assert registry.path("subject", cache=cache) == path
    after = path.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime > before.st_mtime + 900


def test_a_file_of_another_size_is_made_again(registry: Registry, cache: Path) -> None:
    path = registry.path("subject", cache=cache)
    whole = path.read_bytes()
    replace_bytes(path, whole[:-1])
    assert registry.path("subject", cache=cache) == path
    assert path.read_bytes() == whole


def test_the_least_recently_used_goes_first(registry: Registry, cache: Path) -> None:
    paths = [registry.path("subject", tau=tau, cache=cache) for tau in TAUS]
    for seconds, path in zip((300, 200, 100), paths, strict=True):
        age(path, seconds)
    registry.path("subject", tau=TAUS[0], cache=cache)  # now the one used last
    size = sum(path.stat().st_size for path in paths)
    last = registry.path("subject", cache=cache, limit=size)
    assert {path for path in paths if path.exists()} == {paths[0], paths[2]}
    assert sum(path.stat().st_size for path in cache.iterdir()) <= size
    # A hit makes room too, and is never what goes.
    assert registry.path("subject", tau=TAUS[2], cache=cache, limit=1) == paths[2]
    assert list(cache.iterdir()) == [paths[2]]
    assert not last.exists()


def test_nothing_else_in_the_folder_is_removed(registry: Registry, cache: Path) -> None:
    cache.mkdir(parents=True)
    theirs = cache / "model.safetensors"
    theirs.write_bytes(b"mine")
    crashed = cache / f"{TEMPORARY_PREFIX}old"
    crashed.write_bytes(b"half")
    under_way = cache / f"{TEMPORARY_PREFIX}new"
    under_way.write_bytes(b"half")
    age(crashed, 100_000)
    path = registry.path("subject", cache=cache, limit=0)
    assert set(cache.iterdir()) == {theirs, under_way, path}


def test_what_fails_leaves_nothing(registry: Registry, root: Path, cache: Path) -> None:
    with pytest.raises(NotFound):
        registry.path("nobody", cache=cache)
    path = registry.path("subject", tau=0.3, cache=cache)
    flip_tensor(object_path(root, registry.base("sd15").file), "vae.same")
    for tau in (None, 0.5):
        with pytest.raises(BaseMismatch):
            registry.path("subject", tau=tau, cache=cache, limit=10**9)
    assert list(cache.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        registry.path("subject", cache=tmp_path / "file" / "cache")


def test_where_the_cache_is(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert find_cache(None, None, home).limit == DEFAULT_LIMIT
    assert find_cache(None, None, home).folder.is_relative_to(tmp_path)
    named = home | {"DSVD_CACHE": str(tmp_path / "named"), "DSVD_CACHE_LIMIT": "7"}
    assert find_cache(None, None, named).folder == tmp_path / "named"
    assert find_cache(None, None, named).limit == 7
    given = find_cache(tmp_path / "given", 5, named)
    assert (given.folder, given.limit) == (tmp_path / "given", 5)
    for limit, environ in ((-1, {}), (None, {"DSVD_CACHE_LIMIT": "50 GB"})):
        with pytest.raises(InvalidArgument):
            find_cache(tmp_path, limit, environ)


@pytest.mark.parametrize(
    ("value", "expected"), [("{home}/xdg", "xdg/dsvd"), ("relative", ".cache/dsvd")]
)
def test_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": value.format(home=tmp_path)}
    assert find_cache(None, None, environ).folder == tmp_path / expected


def test_a_file_that_is_there_needs_not_even_what_makes_one(root: Path, cache: Path) -> None:
    code = OPEN + "registry.path('subject', cache=sys.argv[2])"
    code += "; print('dsvd_registry.reconstruction.write_result' in sys.modules)"
    assert imported(code, root, cache) == {"True"}
    assert imported(code, root, cache) == {"False"}


@pytest.mark.parametrize("limit", [DEFAULT_LIMIT, 0], ids=["room for all", "room for one"])
def test_many_processes_ask_at_once(root: Path, cache: Path, limit: int) -> None:
    """Each gets every file whole, whoever made it, and nothing half written is left behind."""
    asked: list[tuple[str, float | None]] = [("subject", None), *(("subject", t) for t in TAUS)]
    if limit == 0:
        asked = asked[:1] * 6  # else another process may remove what this one has not opened yet
    children = [Child(cache_child.ask, root, cache, limit, asked) for _ in range(3)]
    reports = [child.reports() for child in children]
    assert reports[0] == reports[1] == reports[2]
    assert len(reports[0]) == len(asked)
    found = files_in(cache)
    assert {str(cache / name) for name in found} == {path for path, _ in reports[0]}
    assert all(re.fullmatch(r"[0-9a-f]{64}(-0\.\d)?\.safetensors", name) for name in found)
    assert all(sha256(Path(path)) == digest for path, digest in reports[0] if path)


def test_processes_that_take_room_from_each_other(root: Path, cache: Path) -> None:
    """Two that ask for different files, with room for one: no error, and the sum stays bounded."""
    children = [Child(cache_child.ask_only, root, cache, 0, tau, 8) for tau in TAUS]
    assert [child.reports() for child in children] == [[("asked", 8)]] * 3
    assert len(files_in(cache)) <= 3
    with Registry.open(root) as registry:
        path = registry.path("subject", cache=cache, limit=0)
    assert list(cache.iterdir()) == [path]
