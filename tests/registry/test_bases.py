"""Bases: copied or linked, known by content, refused when they are another or damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.container.reader import Container
from dsvd_registry.errors import BaseMismatch, CheckpointError, Conflict, DsvdError, NotFound
from dsvd_registry.reconstruction.reconstruction import Reconstruction

from .conftest import (
    TAU,
    Pair,
    files_in,
    flip,
    flip_tensor,
    object_path,
    write_pickle,
    write_safetensors,
)


@pytest.fixture
def link(tmp_path: Path, pair: Pair) -> Path:
    """A copy of the base that a registry links to."""
    path = tmp_path / "linked" / "base.safetensors"
    path.parent.mkdir()
    path.write_bytes(pair.base_file.read_bytes())
    return path


@pytest.fixture
def linked(tmp_path: Path, link: Path, pair: Pair) -> Iterator[Registry]:
    """A registry whose base is linked, with `subject@1`."""
    with Registry.init(tmp_path / "registry") as made:
        made.add_base("sd15", link, link=True)
        made.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
        yield made


def assert_refused(registry: Registry, *words: str) -> None:
    """Materialising gives a `BaseMismatch` that holds `words`, and no file."""
    out = registry.folder.parent / "out"
    out.mkdir(exist_ok=True)
    with pytest.raises(BaseMismatch) as caught:
        registry.materialize("subject", out / "out.safetensors")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint
    assert files_in(out) == {}


def test_a_copied_base_needs_its_file_no_more(tmp_path: Path, pair: Pair) -> None:
    file = tmp_path / "base.safetensors"
    file.write_bytes(pair.base_file.read_bytes())
    with Registry.init(tmp_path / "registry") as registry:
        base = registry.add_base("sd15", file)
        file.unlink()
        assert base.link is None
        stored = object_path(registry.folder, base.file)
        assert stored.read_bytes() == pair.base_file.read_bytes()
        registry.add(pair.tuned_file, base="sd15", name="subject")
        registry.materialize("subject", tmp_path / "out.safetensors")


def test_a_linked_base_stays_where_it_is(linked: Registry, link: Path, tmp_path: Path) -> None:
    base = linked.base("sd15")
    assert base.link == link
    assert not object_path(linked.folder, base.file).exists()
    assert linked.materialize("subject", tmp_path / "out.safetensors").recorded
    assert linked.verify(deep=True).is_well


def test_a_linked_file_with_one_other_bit(linked: Registry, link: Path) -> None:
    flip_tensor(link, "tied")
    assert_refused(linked, "sd15", "'tied'", str(link))


def test_a_linked_file_that_was_cut(linked: Registry, link: Path) -> None:
    link.write_bytes(link.read_bytes()[:-100])
    assert_refused(linked, "sd15", str(link), "truncated")


def test_a_linked_file_that_is_gone(linked: Registry, link: Path) -> None:
    link.unlink()
    assert_refused(linked, "sd15", str(link), "gone", linked.base("sd15").digest)


def test_a_linked_file_with_other_weights(linked: Registry, link: Path, pair: Pair) -> None:
    write_safetensors({"w": torch.ones(3)}, link)
    assert_refused(linked, "sd15", str(link))


def test_a_linked_file_that_is_no_checkpoint(linked: Registry, link: Path) -> None:
    link.write_text("not any more")
    assert_refused(linked, "sd15", str(link))


def test_damage_that_hits_no_needed_tensor(linked: Registry, link: Path, tmp_path: Path) -> None:
    flip_tensor(link, "not_taken")
    assert linked.materialize("subject", tmp_path / "out.safetensors").recorded
    (finding,) = linked.verify().findings
    assert "'not_taken'" in finding.problem


def test_the_same_weights_in_a_linked_file_of_another_form(
    linked: Registry, link: Path, pair: Pair, tmp_path: Path
) -> None:
    write_pickle(dict(reversed(pair.base.items())), link)
    assert linked.materialize("subject", tmp_path / "out.safetensors").recorded


def test_a_changed_link_is_refused_by_add(linked: Registry, link: Path, pair: Pair) -> None:
    before = linked.versions()
    flip_tensor(link, "tied")
    with pytest.raises(BaseMismatch, match="damaged"):
        linked.add(pair.tuned_file, base="sd15", name="other", tau=0.3)
    assert linked.versions() == before
    assert linked.usage().reclaimable == 0


def test_adding_again_copies_a_link(linked: Registry, link: Path, tmp_path: Path) -> None:
    linked.add_base("sd15", link)
    link.unlink()
    assert linked.base("sd15").link is None
    assert linked.materialize("subject", tmp_path / "out.safetensors").recorded


def test_the_needed_digest_and_the_one_that_is_there(
    registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    other = dict(pair.base, tied=pair.base["tied"] + 1)
    base = registry.add_base("other", write_safetensors(other, tmp_path / "o.safetensors"))
    version = registry.version("subject")
    with (
        Container(object_path(registry.folder, version.container)) as container,
        registry.repository.open_base(base) as weights,
        pytest.raises(BaseMismatch) as caught,
    ):
        Reconstruction(container, weights, TAU)
    message = str(caught.value)
    assert version.base in message
    assert base.digest in message
    assert "'tied'" in message


def test_a_base_with_more_tensors_and_other_names_suits(
    registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    renamed = {f"model.{name}": tensor for name, tensor in pair.base.items()}
    renamed["position_ids"] = torch.arange(77)
    base = registry.add_base("more", write_safetensors(renamed, tmp_path / "m.safetensors"))
    version = registry.version("subject")
    assert base.digest != version.base
    with (
        Container(object_path(registry.folder, version.container)) as container,
        registry.repository.open_base(base) as weights,
    ):
        (found,) = Reconstruction(container, weights, TAU).digests()
        assert found.sha256 == container.header.results[0].sha256


def test_a_base_that_is_needed_stays(registry: Registry) -> None:
    with pytest.raises(Conflict, match="subject@1"):
        registry.remove_base("sd15")
    registry.materialize("subject", registry.folder.parent / "out.safetensors")
    registry.remove_version("subject@1")
    assert registry.remove_base("sd15").name == "sd15"
    assert registry.bases() == []


@pytest.mark.parametrize("which", ["file", "manifest"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_base_object(registry: Registry, which: str, damage: str) -> None:
    path = object_path(registry.folder, getattr(registry.base("sd15"), which))
    if damage == "flip" and which == "file":
        flip_tensor(path, "tied")
    elif damage == "flip":
        flip(path)
    elif damage == "cut":
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    out = registry.folder.parent / "out"
    out.mkdir()
    with pytest.raises(DsvdError) as caught:
        registry.materialize("subject", out / "out.safetensors")
    assert caught.value.exit_code in (7, 8)  # BaseMismatch, RegistryError
    assert files_in(out) == {}
    assert not registry.verify().is_well


def test_a_name_that_holds_other_weights(registry: Registry, pair: Pair) -> None:
    before = files_in(registry.folder / "objects"), registry.bases()
    for name in ("sd15", "SD15"):
        with pytest.raises(Conflict, match="sd15 is taken"):
            registry.add_base(name, pair.tuned_file)
    assert (files_in(registry.folder / "objects"), registry.bases()) == before


def test_weights_that_have_a_name(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    before = files_in(registry.folder / "objects"), registry.bases()
    for file in (pair.base_file, write_pickle(pair.base, tmp_path / "base.ckpt")):
        with pytest.raises(Conflict, match="these weights are the base sd15 already"):
            registry.add_base("again", file)
    assert (files_in(registry.folder / "objects"), registry.bases()) == before


@pytest.mark.parametrize("which", ["file", "manifest"])
def test_adding_a_damaged_base_again_repairs_it(registry: Registry, pair: Pair, which: str) -> None:
    flip(object_path(registry.folder, getattr(registry.base("sd15"), which)), -20)
    assert not registry.verify().is_well
    registry.add_base("sd15", pair.base_file)
    assert registry.verify(deep=True).is_well


def test_a_base_that_is_not_there(registry: Registry, pair: Pair) -> None:
    with pytest.raises(NotFound, match="sd16"):
        registry.add(pair.tuned_file, base="sd16", name="other")


def test_a_checkpoint_that_shares_nothing(registry: Registry, tmp_path: Path) -> None:
    source = write_safetensors({"lora.up": torch.ones(3, 3)}, tmp_path / "lora.safetensors")
    with pytest.raises(BaseMismatch, match=r"shares no tensor.*'lora\.up'"):
        registry.add(source, base="sd15", name="other")
    assert registry.usage().reclaimable == 0


@pytest.mark.parametrize("content", [b"", b"hello", b"\x10" + bytes(7) + b'{"w": 1'])
def test_a_file_that_is_no_checkpoint(registry: Registry, tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "x.safetensors"
    source.write_bytes(content)
    before = files_in(registry.folder / "objects")
    with pytest.raises(CheckpointError, match=str(source)):
        registry.add(source, base="sd15", name="other")
    with pytest.raises(CheckpointError, match=str(source)):
        registry.add_base("other", source)
    assert files_in(registry.folder / "objects") == before
