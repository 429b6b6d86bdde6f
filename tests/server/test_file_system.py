"""Files of versions by fsspec, found by its entry point."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import fsspec
import pytest
from safetensors import safe_open

from .conftest import Shelf

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def registry(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setenv("DSVD_REGISTRY", str(shelf.registry))
    return shelf


def test_a_url_opens_a_file(registry: Shelf) -> None:
    truth = registry.tuned_file.read_bytes()
    with fsspec.open("dsvd://single@1/model.safetensors") as file:
        assert file.read() == truth
    with fsspec.open("dsvd://single") as file:  # the only file of a version
        assert file.read(100) == truth[:100]
    with fsspec.open(f"dsvd://exact/{UNET}") as file:
        assert file.read() == (registry.tuned / UNET).read_bytes()


def test_a_file_is_sought_and_outlives_its_file_system(registry: Shelf) -> None:
    truth = registry.tuned_file.read_bytes()
    file = fsspec.filesystem("dsvd").open("single@1/model.safetensors")
    gc.collect()
    chosen = random.Random(3)
    with file:
        assert file.size == len(truth)
        for _ in range(20):
            start = chosen.randrange(len(truth))
            size = chosen.randrange(1, 10_000)
            file.seek(start)
            assert file.read(size) == truth[start : start + size]


def test_parts_of_a_file(registry: Shelf) -> None:
    truth = registry.tuned_file.read_bytes()
    fs = fsspec.filesystem("dsvd")
    path = "dsvd://single@1/model.safetensors"
    for start, end in ((None, None), (5, 77), (-9, None), (7, 7), (50, 10**12), (9, 3)):
        assert fs.cat_file(path, start, end) == truth[start:end]
    assert fs.cat_ranges([path, path], [0, 10], [5, 15]) == [truth[:5], truth[10:15]]


def test_listing(registry: Shelf) -> None:
    fs = fsspec.filesystem("dsvd")
    refs = {"exact@1", "subject@1", "subject@2", "single@1", "odd--name.git@1"}
    assert set(fs.ls("dsvd://", detail=False)) == refs
    truth = {
        f"exact@1/{path.relative_to(registry.tuned).as_posix()}": path.stat().st_size
        for path in registry.tuned.rglob("*")
        if path.is_file()
    }
    assert fs.du("exact@1", total=False) == truth
    assert sorted(fs.find("exact@1")) == sorted(truth)
    assert fs.ls("exact@1/unet", detail=False) == ["exact@1/unet/config.json", f"exact@1/{UNET}"]
    assert fs.isdir("exact@1/unet") and fs.isfile(f"exact@1/{UNET}") and fs.isdir("subject@prod")
    assert fs.glob("exact@1/*/*.safetensors") == sorted(
        path for path in truth if path.endswith(".safetensors")
    )
    assert fs.created("exact@1").tzinfo is not None


def test_another_form(registry: Shelf, tmp_path: Path) -> None:
    fs = fsspec.filesystem("dsvd", registry=registry.registry, dtype="fp16")
    fs.get(f"exact@1/{UNET}", str(tmp_path / "half.safetensors"))
    with (
        safe_open(tmp_path / "half.safetensors", "pt") as half,
        safe_open(registry.tuned / UNET, "pt") as whole,
    ):
        for name in whole.keys():  # noqa: SIM118 - it is no mapping
            assert (half.get_tensor(name) == whole.get_tensor(name).half()).all()


def test_what_is_not_there_and_what_is_not_allowed(registry: Shelf) -> None:
    fs = fsspec.filesystem("dsvd")
    for path in ("none", "subject@9", "exact@1/none", "exact@1/un", "../exact"):
        assert not fs.exists(path)
        with pytest.raises(FileNotFoundError):
            fs.open(f"{path}/x")
        with pytest.raises(FileNotFoundError):
            fs.ls(path)
    with pytest.raises(OSError, match="read-only"):
        fs.open("exact@1/new", "wb")
