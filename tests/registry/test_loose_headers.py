"""Safetensors headers that the library reads and no older container holds, and deflated torch files."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dsvd_registry import Registry

from .conftest import Weights, write_safetensors

make = torch.Generator().manual_seed(4)
BASE = {"w": torch.randn(40, 32, generator=make), "b": torch.randn(32, generator=make)}
TUNED = {n: t + 1e-2 * torch.randn(t.shape, generator=make) for n, t in BASE.items()}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("base", write_safetensors(BASE, tmp_path / "base.safetensors"))
        yield opened


def loosened(weights: Weights, path: Path, before: bytes, metadata: object) -> Path:
    """A safetensors file with another text for its header."""
    write_safetensors(weights, path)
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    document = json.loads(data[8 : 8 + length])
    document.pop("__metadata__", None)
    if metadata != "none":
        document = {"__metadata__": metadata, **document}
    header = before + json.dumps(document).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
    return path


HEADERS = {
    "space": (b" ", {"a": "b"}),
    "no metadata": (b" \n", "none"),
    "null": (b"", None),
    "both": (b"\t", None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_lossless_to_the_byte(registry: Registry, tmp_path: Path, name: str) -> None:
    """Seen to fail: refused; with a header that is made anew, other bytes."""
    path = loosened(TUNED, tmp_path / "x.safetensors", *HEADERS[name])
    assert all(torch.equal(load_file(path)[n], TUNED[n]) for n in TUNED)  # the library reads it
    added = registry.add(path, base="base", lossless=True)
    registry.materialize(added.ref, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert registry.verify(deep=True).is_well
    lossy = tmp_path / "lossy.safetensors"
    registry.materialize(registry.add(path, base="base", name="lossy", tau=0.5).ref, lossy)
    assert lossy.read_bytes()[8:9] == b"{"
    far = max(float((load_file(lossy)[n] - TUNED[n]).norm() / TUNED[n].norm()) for n in TUNED)
    assert 0 < far < 0.05
    exported = tmp_path / "x.dsvd"
    registry.export_container(added.ref, exported)
    registry.remove_version(added.ref)
    assert registry.import_container(exported, name="back").created
    assert registry.verify(deep=True).is_well


def test_as_a_base_and_as_the_same_weights(registry: Registry, tmp_path: Path) -> None:
    path = loosened(BASE, tmp_path / "loose.safetensors", b" ", None)
    assert registry.add_base("base", path).digest == registry.base("base").digest
    added = registry.add(path, base="base", name="same")
    registry.materialize("same", tmp_path / "again.safetensors")
    assert added.created
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("lossless", [False, True])
def test_a_deflated_file_is_the_version_of_the_stored_one(
    registry: Registry, tmp_path: Path, lossless: bool
) -> None:
    stored, deflated = tmp_path / "stored.ckpt", tmp_path / "deflated.ckpt"
    torch.save({"state_dict": TUNED, "step": 3}, stored)
    with (
        zipfile.ZipFile(stored) as archive,
        zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    found = registry.add_many([stored, deflated], base="base", lossless=lossless)
    assert [file.ref for file in found.files] == ["stored@1", "deflated@1"]
    made = {}
    for name in ("stored", "deflated"):
        registry.materialize(name, tmp_path / f"{name}.safetensors")
        made[name] = load_file(tmp_path / f"{name}.safetensors")
    assert all(torch.equal(made["stored"][n], made["deflated"][n]) for n in TUNED)
    if lossless:
        assert all(torch.equal(made["deflated"][n], TUNED[n]) for n in TUNED)
    assert registry.verify(deep=True).is_well
    base = registry.add_base("deflated", deflated)
    registry.add(stored, base="deflated", name="itself")
    assert base.format == "pickle"
    assert registry.report("itself").change == 0
    assert registry.verify(deep=True).is_well
