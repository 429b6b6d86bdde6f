"""A lossless version of a LoRA file keeps the file itself, its metadata and order of bytes with it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.errors import ContainerError, NotFound, StorageError
from dsvd_registry.store import ObjectStore

from .small import base_weights, check_products, kohya, pairs, registry_of
from .training import Base, Trained

METADATA = {"ss_tag_frequency": '{"dog": {"a dog, é": 7}}', "modelspec.title": "Dog", "z": "last"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(kohya(pairs()), tmp_path / "lora.safetensors", METADATA)
    return tmp_path / "lora.safetensors"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Registry]:
    own = tmp_path / "own"
    own.mkdir()
    with registry_of(own, base_weights()) as opened:
        yield opened


def object_of(registry: Registry, data: bytes) -> Path:
    """The place of the object with these bytes, worked out here."""
    digest = hashlib.sha256(data).hexdigest()
    return registry.folder / "objects" / digest[:2] / digest


def test_the_file_is_an_object(there: Registry, file: Path) -> None:
    data = file.read_bytes()
    added = there.add(file, base="sd15", name="dog", lossless=True)
    assert (added.created, added.upgraded) == (True, False)
    assert object_of(there, data).read_bytes() == data and b"ss_tag_frequency" in data
    original = added.version.original
    assert original is not None and original.size == len(data)
    assert added.version.stored_size == added.version.size + len(data)
    check_products(there, "dog", pairs())  # what it is merged into is as ever
    again = there.add(file, base="sd15", name="dog", lossless=True)
    assert (again.ref, again.created, again.upgraded) == ("dog@1", False, False)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_lossy_version_gets_it(there: Registry, file: Path, suffix: str) -> None:
    lora = file.with_name(f"other{suffix}")
    if suffix == ".ckpt":
        torch.save(kohya(pairs()), lora)
    else:
        shutil.copy(file, lora)
    lossy = there.add(lora, base="sd15", name="dog")
    assert lossy.version.original is None and not object_of(there, lora.read_bytes()).exists()
    upgraded = there.add(lora, base="sd15", name="dog", lossless=True)
    assert (upgraded.ref, upgraded.upgraded) == ("dog@1", True)
    assert object_of(there, lora.read_bytes()).read_bytes() == lora.read_bytes()


def test_gc_keeps_it_until_it_is_dropped(there: Registry, file: Path) -> None:
    there.add(file, base="sd15", name="dog", lossless=True)
    there.add(file, base="sd15", name="dog-too", lossless=True)
    there.collect_garbage(grace_days=-1)
    assert there.thin("dog").freed_bytes == 0  # the other model has it too
    there.collect_garbage(grace_days=-1)
    data = file.read_bytes()
    assert object_of(there, data).read_bytes() == data
    thinned = there.thin("dog-too")
    assert (thinned.version.original, thinned.freed_bytes) == (None, len(data))
    there.collect_garbage(grace_days=-1)
    assert not object_of(there, data).exists() and there.verify(deep=True).is_well
    with pytest.raises(NotFound):
        there.thin("dog")


def test_usage_counts_it(there: Registry, file: Path) -> None:
    there.add(file, base="sd15", name="dog")
    before = there.usage()
    there.add(file, base="sd15", name="dog", lossless=True)
    size = len(file.read_bytes())
    assert there.usage().total == before.total + size
    assert there.usage().models[0].bytes == before.models[0].bytes + size
    assert there.usage().reclaimable == before.reclaimable


def test_damage_is_found_and_repaired(there: Registry, file: Path) -> None:
    there.add(file, base="sd15", name="dog", lossless=True)
    place = object_of(there, file.read_bytes())
    place.chmod(0o644)
    place.write_bytes(b"x" + file.read_bytes()[1:])
    (finding,) = there.verify("dog").findings
    assert finding.subjects == ("dog@1",) and "damaged" in finding.problem
    assert finding in there.verify().findings
    found = Registry.repair(there.folder, sources=[file])
    assert found.is_well and [one.what for one in found.restored] == ["original"]
    assert place.read_bytes() == file.read_bytes()


def test_a_lost_one_comes_back_with_its_file(there: Registry, file: Path) -> None:
    there.add(file, base="sd15", name="dog", lossless=True)
    object_of(there, file.read_bytes()).unlink()
    assert not there.verify("dog").is_well
    there.add(file, base="sd15", name="dog", lossless=True)
    assert there.verify("dog", deep=True).is_well


def test_it_survives_the_loss_of_the_catalog(there: Registry, file: Path) -> None:
    added = there.add(file, base="sd15", name="dog", lossless=True).version
    folder = there.folder
    there.close()
    (folder / "catalog.sqlite").unlink()
    with Registry.open(folder) as again:
        assert again.version("dog") == added


def test_it_travels_beside_the_container(there: Registry, file: Path, tmp_path: Path) -> None:
    there.add(file, base="sd15", name="dog", lossless=True)
    exported = there.export_container("dog", tmp_path / "dog.dsvd")
    assert exported.original == tmp_path / "dog.dsvdo"
    assert exported.original.read_bytes() == file.read_bytes()
    with Registry.init(tmp_path / "elsewhere") as other:
        other.add_base("another-name", tmp_path / "own/base.safetensors")
        came = other.import_container(tmp_path / "dog.dsvd").version
        assert came.original is not None
        assert object_of(other, file.read_bytes()).read_bytes() == file.read_bytes()
        assert other.verify(deep=True).is_well
    (tmp_path / "dog.dsvdo").write_bytes(file.read_bytes() + b" ")
    with Registry.init(tmp_path / "third") as third:
        third.add_base("sd15", tmp_path / "own/base.safetensors")
        with pytest.raises(ContainerError, match="is not the file"):
            third.import_container(tmp_path / "dog.dsvd")
        assert third.versions() == []
        (tmp_path / "dog.dsvdo").unlink()
        assert third.import_container(tmp_path / "dog.dsvd").version.original is None


def test_a_file_that_changes_meanwhile(
    there: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fingerprint is of the file as it was: what replaced it does not become the original."""
    there.add(file, base="sd15", name="dog")
    data = file.read_bytes()
    really = ObjectStore.is_whole

    def changed(objects: ObjectStore, sha256: str) -> bool:
        if sha256 == hashlib.sha256(data).hexdigest():
            file.write_bytes(data[:-1] + b"x")
        return really(objects, sha256)

    monkeypatch.setattr(ObjectStore, "is_whole", changed)
    with pytest.raises(StorageError, match="was changed"):
        there.add(file, base="sd15", name="dog", lossless=True)
    assert there.version("dog").original is None and not object_of(there, data).exists()


@pytest.mark.parametrize("family", ["sd1"])
def test_a_trained_one(
    registry: Registry,
    lora_of: Callable[[str], Trained],
    base_of: Callable[[str], Base],
    family: str,
) -> None:
    """A LoRA that diffusers and PEFT trained and wrote."""
    registry.add_base("base", base_of(family).files["diffusers"])
    trained = lora_of(family)
    original = registry.add(trained.file, base="base", lossless=True).version.original
    assert original is not None
    assert object_of(registry, trained.file.read_bytes()).read_bytes() == trained.file.read_bytes()
