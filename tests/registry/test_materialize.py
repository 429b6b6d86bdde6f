"""Obstacles to the writing of a result: each gives a typed error, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import (
    Conflict,
    ContainerError,
    InvalidArgument,
    NotFound,
    RegistryError,
    StorageError,
)

from . import child
from .conftest import Child, Pair, files_in, flip, object_path, replace_bytes, sha256
from .crafting import rewritten


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for results."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@contextlib.contextmanager
def permissions_apply() -> Iterator[None]:
    """Root may write everywhere: let this thread do without that while it lasts."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low words, high words
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    before = sets[0], sets[3]
    sets[0] = sets[3] = 0
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0], sets[3] = before
        assert libc.capset(header, sets) == 0


def test_an_existing_file_is_not_touched(registry: Registry, out: Path) -> None:
    path = out / "model.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(Conflict, match=str(path)):
        registry.materialize("subject", path)
    assert files_in(out) == {path.name: b"mine"}
    made = registry.materialize("subject", path, replace=True)
    assert files_in(out).keys() == {path.name}
    assert sha256(path) == made.sha256


def test_a_link_is_not_followed(registry: Registry, out: Path) -> None:
    path, target = out / "link", out / "target"
    path.symlink_to(target)
    with pytest.raises(Conflict):
        registry.materialize("subject", path)
    assert not target.exists()
    target.write_bytes(b"mine")
    registry.materialize("subject", path, replace=True)
    assert target.read_bytes() == b"mine"
    assert not path.is_symlink()


def test_a_file_that_appears_meanwhile(registry: Registry, out: Path) -> None:
    path = out / "model.safetensors"

    def appear(stage: str, done: int, total: int) -> None:
        if done:
            path.write_bytes(b"mine")

    with pytest.raises(Conflict, match=str(path)):
        registry.materialize("subject", path, progress=appear)
    assert files_in(out) == {path.name: b"mine"}


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder(registry: Registry, out: Path, replace: bool) -> None:
    (out / "model").mkdir()
    with pytest.raises((Conflict, InvalidArgument), match=str(out / "model")):
        registry.materialize("subject", out / "model", replace=replace)
    assert list(out.iterdir()) == [out / "model"]
    assert files_in(out) == {}


def test_a_missing_folder(registry: Registry, out: Path) -> None:
    with pytest.raises(StorageError, match=str(out / "no")):
        registry.materialize("subject", out / "no" / "model.safetensors")
    assert list(out.iterdir()) == []


def test_a_file_for_a_folder(registry: Registry, out: Path) -> None:
    (out / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match=str(out / "file")):
        registry.materialize("subject", out / "file" / "model.safetensors")
    assert files_in(out) == {"file": b"mine"}


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_that_cannot_be_written(registry: Registry, out: Path, replace: bool) -> None:
    out.chmod(0o555)
    with permissions_apply(), pytest.raises(StorageError, match=str(out)) as caught:
        registry.materialize("subject", out / "model.safetensors", replace=replace)
    assert "permissions" in caught.value.hint
    assert files_in(out) == {}


def test_a_folder_that_cannot_be_entered(registry: Registry, out: Path) -> None:
    out.chmod(0)
    try:
        with permissions_apply(), pytest.raises(StorageError, match=str(out)):
            registry.materialize("subject", out / "model.safetensors")
    finally:
        out.chmod(0o755)
    assert files_in(out) == {}


def test_a_name_that_is_too_long(registry: Registry, out: Path) -> None:
    with pytest.raises(StorageError, match="too long"):
        registry.materialize("subject", out / ("x" * 300))
    assert files_in(out) == {}


@pytest.mark.parametrize("limit", [0, 1000, 20000])
def test_a_disk_that_is_full(root: Path, out: Path, limit: int) -> None:
    path = out / "model.safetensors"
    ((kind, message),) = Child(child.materialize, root, path, limit).reports()
    assert kind == "StorageError"
    assert str(out) in message
    assert files_in(out) == {}


@pytest.mark.parametrize("limit", [0, 100, 1000, 3000, 20000])
def test_a_disk_that_is_full_while_adding(root: Path, pair: Pair, limit: int) -> None:
    addition = (pair.tuned_file, {"base": "sd15", "name": "other", "tau": 0.3})
    error, end = Child(child.add, root, [addition], None, limit).reports()
    assert (error[0], end[0]) == ("StorageError", None)
    assert str(root) in error[1]
    with Registry.open(root) as registry:
        # The last write is the catalog's own, which the next process does again.
        assert "other@1" not in [v.ref for v in registry.versions()] or "catalog" in error[1]
        assert registry.verify(deep=True).is_well
        assert registry.usage().reclaimable == 0
        assert registry.collect_garbage(grace_days=0).temporary_files == 0
        assert registry.add(addition[0], **addition[1]).ref == "other@1"
        assert registry.verify(deep=True).is_well


def test_a_ref_that_does_not_exist(registry: Registry, out: Path) -> None:
    for ref in ("subjekt", "subject@2", "subject@prod"):
        with pytest.raises(NotFound):
            registry.materialize(ref, out / "model.safetensors")
    assert files_in(out) == {}


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.8, 0.999])
def test_a_damaged_container(registry: Registry, out: Path, part: float) -> None:
    path = object_path(registry.folder, registry.version("subject").container)
    flip(path, int(part * path.stat().st_size))
    with pytest.raises(ContainerError, match=str(path)):
        registry.materialize("subject", out / "model.safetensors")
    assert files_in(out) == {}


def test_a_missing_container(registry: Registry, out: Path) -> None:
    digest = registry.version("subject").container
    object_path(registry.folder, digest).unlink()
    with pytest.raises(RegistryError, match=digest):
        registry.materialize("subject", out / "model.safetensors")
    assert files_in(out) == {}


def test_a_result_that_is_not_the_recorded_one(registry: Registry, out: Path) -> None:
    path = object_path(registry.folder, registry.version("subject").container)
    lie = rewritten(path, lambda header: header["results"][0].update(sha256="0" * 64))
    replace_bytes(path, lie)
    with pytest.raises(RegistryError, match="not the one that the event log tells of"):
        registry.materialize("subject", out / "model.safetensors")
    assert files_in(out) == {}


def test_a_result_of_another_size(registry: Registry, out: Path) -> None:
    path = object_path(registry.folder, registry.version("subject").container)
    replace_bytes(path, rewritten(path, lambda header: header["results"][0].update(size=7)))
    with pytest.raises(RegistryError, match="not the one that the event log tells of"):
        registry.materialize("subject", out / "model.safetensors")
    assert files_in(out) == {}


def test_an_interrupted_run(registry: Registry, out: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.materialize("subject", out / "model.safetensors", progress=interrupt)
    assert files_in(out) == {}


def test_progress_reaches_the_end(registry: Registry, out: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    made = registry.materialize(
        "subject", out / "m.safetensors", progress=lambda *step: steps.append(step)
    )
    assert steps[0] == ("materializing", 0, made.size)
    assert steps[-1] == ("materializing", made.size, made.size)
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


def test_a_relative_path(registry: Registry, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    registry.materialize("subject", "model.safetensors")
    assert os.listdir(out) == ["model.safetensors"]  # noqa: PTH208
