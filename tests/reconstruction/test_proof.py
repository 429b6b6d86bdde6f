"""A recorded digest of the result proves the base; a damaged base tensor is still named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from registry.conftest import (
    TAU,
    Pair,
    data_size,
    files_in,
    flip,
    flip_tensor,
    header_of,
    object_path,
    replace_bytes,
    write_safetensors,
)
from registry.crafting import rewritten

from dsvd_registry import Registry
from dsvd_registry.checkpoint.checkpoint import Copier
from dsvd_registry.encoding import container_builder
from dsvd_registry.errors import BaseMismatch, ContainerError, RegistryError, ResultMismatch
from dsvd_registry.reconstruction import base_weights
from dsvd_registry.reconstruction.checked_bytes import Mismatch
from dsvd_registry.registry.repository import Repository

CAST = "vae.same_cast"
NAMES = (
    "unet.down_blocks.0.low_rank",
    "unet.up_blocks.0.conv.low_rank",
    "unet.mid_block.low_rank_f16_f32",
    "text_encoder.low_rank_added_rows",
    "unet.conv_in.dense",
    "vae.dense_scalar",
    "vae.same",
    CAST,
    "vae.same_int",
)


@pytest.fixture
def link(tmp_path: Path, pair: Pair) -> Path:
    path = tmp_path / "linked.safetensors"
    path.write_bytes(pair.base_file.read_bytes())
    return path


@pytest.fixture
def linked(tmp_path: Path, link: Path, pair: Pair) -> Iterator[Registry]:
    """A registry whose base is a file that anyone may change, with `subject@1`."""
    with Registry.init(tmp_path / "registry") as made:
        made.add_base("sd15", link, link=True)
        made.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
        yield made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the base tensors that are checked: as a whole, or part by part as they are copied."""
    sizes: list[int] = []
    check, copier = base_weights.check_bytes, base_weights.checked_copier

    def check_bytes(data: memoryview, sha256: str, mismatch: Mismatch) -> None:
        sizes.append(len(data))
        check(data, sha256, mismatch)

    def checked_copier(copy: Copier, size: int, sha256: str, mismatch: Mismatch) -> Copier:
        sizes.append(size)
        return copier(copy, size, sha256, mismatch)

    monkeypatch.setattr(base_weights, "check_bytes", check_bytes)
    monkeypatch.setattr(base_weights, "checked_copier", checked_copier)
    return sizes


def put(path: Path, name: str, values: np.ndarray) -> None:
    """Other values at the beginning of a tensor of a safetensors file."""
    data = bytearray(path.read_bytes())
    place = len(data) - data_size(path) + header_of(path)[name]["data_offsets"][0]
    data[place : place + values.nbytes] = values.tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_tensor_of_any_kind_is_named(
    linked: Registry, link: Path, out: Path, name: str
) -> None:
    flip_tensor(link, name) if name != CAST else put(link, name, np.array([1e4], "<f4"))
    for tau in (None, TAU, 0.3):
        with pytest.raises(BaseMismatch, match="damaged") as caught:
            linked.materialize("subject", out / "out.safetensors", tau=tau)
        assert repr(name) in str(caught.value)
        assert str(link) in str(caught.value)
        assert files_in(out) == {}
    with linked.tensors("subject") as tensors, pytest.raises(BaseMismatch, match="damaged"):
        tensors[name]
    of_result = linked.verify(deep=True).findings[-1]
    assert of_result.subjects == ("subject@1",)
    assert repr(name) in of_result.problem


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["unet.down_blocks.0.low_rank", "unet.conv_in.dense"])
def test_damage_that_makes_the_result_not_finite(
    linked: Registry, link: Path, out: Path, name: str, value: float
) -> None:
    """The result is refused anyway, but the error must name the base, not the container."""
    put(link, name, np.array([value], "<f4"))
    with pytest.raises(BaseMismatch, match="damaged") as caught:
        linked.materialize("subject", out / "out.safetensors")
    assert repr(name) in str(caught.value)
    assert files_in(out) == {}
    with linked.tensors("subject") as tensors, pytest.raises(BaseMismatch, match="damaged"):
        tensors[name]


def test_damage_that_the_result_does_not_show(linked: Registry, link: Path, out: Path) -> None:
    """A bit that the cast to half precision rounds away: what was recorded comes out, or nothing."""
    flip_tensor(link, CAST)
    assert linked.materialize("subject", out / "out.safetensors").recorded
    with pytest.raises(BaseMismatch, match=CAST):
        linked.materialize("subject", out / "lower.safetensors", tau=0.3)
    assert not linked.verify().is_well


def test_damage_that_makes_a_cast_of_nan(linked: Registry, link: Path, out: Path) -> None:
    put(link, CAST, np.array([np.nan], "<f4"))
    with pytest.raises(BaseMismatch, match=r"'vae\.same_cast'"):
        linked.materialize("subject", out / "out.safetensors")
    assert files_in(out) == {}


def test_a_base_that_is_whole_is_not_checked(
    linked: Registry, out: Path, checked: list[int]
) -> None:
    assert linked.materialize("subject", out / "one").recorded
    assert linked.materialize("subject", out / "two", tau=TAU).recorded
    assert checked == []


def test_a_base_is_checked_where_nothing_else_proves_it(
    linked: Registry, link: Path, pair: Pair, out: Path, checked: list[int]
) -> None:
    tensors = header_of(link)
    sizes = {n: int(np.subtract(*tensors[n]["data_offsets"][::-1])) for n in NAMES}
    assert not linked.materialize("subject", out / "lower", tau=0.3).recorded
    assert all(checked.count(size) >= 1 for size in sizes.values())

    def look_up() -> None:
        with linked.tensors("subject") as tensors:
            tensors[NAMES[0]]

    for step in (
        look_up,
        lambda: linked.diff_base("subject"),
        lambda: linked.add(pair.tuned_file, base="sd15", name="other", tau=0.5),
    ):
        checked.clear()
        step()
        assert sizes[NAMES[0]] in checked


def test_a_lie_of_the_container_over_a_base_that_is_whole(
    linked: Registry, out: Path, checked: list[int]
) -> None:
    """The event log has the digest of the result, too: nothing is made."""
    path = object_path(linked.folder, linked.version("subject").container)
    replace_bytes(path, rewritten(path, lambda h: h["results"][0].update(sha256="0" * 64)))
    with pytest.raises(RegistryError, match="not the one that the event log tells of"):
        linked.materialize("subject", out / "out.safetensors")
    assert checked == [] and files_in(out) == {}


def test_a_lie_of_container_and_log_over_a_base_that_is_whole(
    linked: Registry, out: Path, checked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = object_path(linked.folder, linked.version("subject").container)
    replace_bytes(path, rewritten(path, lambda h: h["results"][0].update(sha256="0" * 64)))
    monkeypatch.setattr(Repository, "_check_goes_with", lambda *_: None)  # as if the log lied, too
    with pytest.raises(ResultMismatch, match="0" * 64):
        linked.materialize("subject", out / "out.safetensors")
    assert len(checked) >= len(NAMES)  # before the container is blamed
    assert files_in(out) == {}


def test_damage_of_the_container_over_a_base_that_is_whole(linked: Registry, out: Path) -> None:
    path = object_path(linked.folder, linked.version("subject").container)
    flip(path, -1)
    with pytest.raises(ContainerError, match=str(path)):
        linked.materialize("subject", out / "out.safetensors")
    assert files_in(out) == {}


def test_a_linked_file_whose_tensor_has_another_size(
    linked: Registry, link: Path, pair: Pair, out: Path
) -> None:
    name = NAMES[0]
    write_safetensors(dict(pair.base, **{name: pair.base[name][:-1]}), link)
    with pytest.raises(BaseMismatch, match="damaged") as caught:
        linked.materialize("subject", out / "out.safetensors")
    assert repr(name) in str(caught.value)
    assert files_in(out) == {}


def test_adding_checks_each_base_tensor_as_it_is_read(
    linked: Registry, pair: Pair, checked: list[int]
) -> None:
    """The encoder and the check of the container each do it once."""
    linked.add(pair.tuned_file, base="sd15", name="again", tau=0.3)
    assert len(pair.base) < len(checked) <= 2 * len(pair.base)


def test_a_base_that_changes_after_it_was_encoded_against_is_found(
    linked: Registry, link: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*arguments: object) -> object:
        flip_tensor(link, NAMES[0])
        return write_container(*arguments)

    write_container = container_builder.write_container
    monkeypatch.setattr(container_builder, "write_container", changed)
    with pytest.raises(BaseMismatch, match="damaged") as caught:
        linked.add(pair.tuned_file, base="sd15", name="again", tau=0.3)
    assert repr(NAMES[0]) in str(caught.value)
    assert [version.ref for version in linked.versions()] == ["subject@1"]
