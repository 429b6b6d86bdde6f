from __future__ import annotations

from pathlib import Path

import pytest

from dsvd_registry.errors import Conflict, NotFound, RegistryError
from dsvd_registry.store import registry_folder


def test_create_then_open(tmp_path: Path) -> None:
    made = registry_folder.create(tmp_path / "a" / "registry")
    assert registry_folder.open(tmp_path / "a" / "registry") == made
    assert made.description.read_bytes() == b'{"format":"dsvd-registry","version":2}'
    assert all(place.is_dir() for place in (made.objects, made.events, made.tmp))


def test_create_refuses_a_registry_and_a_full_folder(tmp_path: Path) -> None:
    registry_folder.create(tmp_path / "registry")
    with pytest.raises(Conflict, match="registry already"):
        registry_folder.create(tmp_path / "registry")
    with pytest.raises(Conflict, match="not empty"):
        registry_folder.create(tmp_path)


def test_create_goes_on_where_a_killed_one_stopped(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / ".dsvd-tmp-0123").write_bytes(b"{")
    assert registry_folder.open(registry_folder.create(tmp_path).root)


def test_open_of_a_newer_registry(tmp_path: Path) -> None:
    made = registry_folder.create(tmp_path / "r")
    made.description.write_bytes(b'{"extra":[],"format":"dsvd-registry","version":3}')
    with pytest.raises(RegistryError, match="newer version") as caught:
        registry_folder.open(made.root)
    assert "newer" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"format":"dsvd-registry","version":0}',
        b'{"format":"dsvd-registry","version":true}',
        b'{"format":"dsvd-registry","version":2}\n',
        b'{"format":"dsvd-registry","format":"dsvd-registry","version":2}',
        b'{"format":"other","version":2}',
        b'{"a":1,"format":"dsvd-registry","version":2}',
        b"[" * 100_000,
    ],
)
def test_open_of_a_damaged_description(tmp_path: Path, data: bytes) -> None:
    made = registry_folder.create(tmp_path / "r")
    made.description.write_bytes(data)
    with pytest.raises(RegistryError):
        registry_folder.open(made.root)


def test_open_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        registry_folder.open(tmp_path)
    assert "dsvd init" in caught.value.hint


def test_find_in_order(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    environ = {"HOME": str(home)}
    with pytest.raises(NotFound) as caught:
        registry_folder.find(None, environ, work)
    assert "dsvd init" in caught.value.hint

    user = registry_folder.create(registry_folder.user_folder(environ)).root
    assert registry_folder.find(None, environ, work) == user

    local = registry_folder.create(tmp_path / "work" / ".dsvd").root
    assert registry_folder.find(None, environ, work) == local

    named = registry_folder.create(tmp_path / "named").root
    assert registry_folder.find(None, {**environ, "DSVD_REGISTRY": str(named)}, work) == named
    assert registry_folder.find(None, {**environ, "DSVD_REGISTRY": ""}, work) == local

    given = registry_folder.create(tmp_path / "given").root
    environ["DSVD_REGISTRY"] = str(named)
    assert registry_folder.find(given, environ, work) == given
    assert registry_folder.find(Path("given"), environ, tmp_path) == given


def test_a_named_registry_is_never_passed_over(tmp_path: Path) -> None:
    registry_folder.create(tmp_path / ".dsvd")
    with pytest.raises(NotFound, match="missing"):
        registry_folder.find(tmp_path / "missing", {}, tmp_path)
    with pytest.raises(NotFound, match="missing"):
        registry_folder.find(None, {"DSVD_REGISTRY": "missing"}, tmp_path)


def test_place_to_create(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert registry_folder.place_to_create(None, environ, tmp_path) == registry_folder.user_folder(
        environ
    )
    assert registry_folder.place_to_create(Path("x"), environ, tmp_path) == tmp_path / "x"
    environ["DSVD_REGISTRY"] = "y"
    assert registry_folder.place_to_create(None, environ, tmp_path) == tmp_path / "y"
