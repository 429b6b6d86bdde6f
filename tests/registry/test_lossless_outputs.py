"""A lossless version in every form that there is: each is made of the source's own bits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from layouts.original import State
from layouts.pipelines import folder
from safetensors.torch import load_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

from .conftest import TAU, Pair, bits, files_in, object_path, sha256, write_safetensors
from .readable import write_pipelines

TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def lossless_template(template: Path, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`subject@1` of the template made lossless, and `free@1`, whose ranks nobody chose."""
    root = tmp_path_factory.mktemp("lossless") / "registry"
    shutil.copytree(template, root)
    with Registry.open(root) as registry, one_thread():
        registry.add(pair.tuned_file, base="sd15", name="subject", tau=TAU, lossless=True)
        registry.add(pair.tuned_file, base="sd15", name="free", lossless=True)
    return root


@pytest.fixture
def registry(lossless_template: Path, tmp_path: Path) -> Iterator[Registry]:
    root = shutil.copytree(lossless_template, tmp_path / "registry")
    with Registry.open(root) as opened:
        yield opened


def take_residual(registry: Registry, ref: str) -> Path:
    """Away with it, as if it had never been written."""
    residual = registry.version(ref).residual
    assert residual is not None
    path = object_path(registry.folder, residual.sha256)
    path.unlink()
    return path


def test_a_tau_reads_no_residual(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    """The stored tau, a lower one, a cast of it, its tensors and its file in the cache.

    Seen to fail: with `open_lossless` of the version itself in the place of `_at`.
    """
    registry.add(pair.tuned_file, base="sd15", name="lossy", tau=TAU)
    registry.export_container("lossy", tmp_path / "lossy.dsvd")
    take_residual(registry, "subject")
    stored = registry.version("subject")
    for tau in (TAU, 0.3):
        made = registry.materialize("subject", tmp_path / "tau", tau=tau, replace=True)
        assert not made.lossless and made.recorded == (tau == TAU)
        with registry.tensors("subject", tau=tau) as tensors:
            found = load_file(made.path)
            assert all(bits(found[name]) == bits(tensors[name]) for name in found)
        path = registry.path("subject", tau=tau, cache=tmp_path / "cache")
        assert path.read_bytes() == made.path.read_bytes()
        with pytest.raises(InvalidArgument, match="'raw_non_finite' holds a NaN"):
            registry.materialize("subject", tmp_path / "cast", tau=tau, dtype="fp32")
    with Registry.init(tmp_path / "other") as other:  # where there is no residual at all
        other.add_base("sd15", pair.base_file)
        other.import_container(tmp_path / "lossy.dsvd")
        assert other.version("lossy").container == stored.container
        there = other.materialize("lossy", tmp_path / "there")
    here = registry.materialize("subject", tmp_path / "tau", tau=TAU, replace=True)
    assert here.sha256 == there.sha256
    # What is told of a version is in its container alone.
    assert registry.report("subject").error > 0
    registry.history("subject")


@pytest.mark.parametrize("ref", ["subject", "free"])
def test_tensors_are_the_sources(registry: Registry, pair: Pair, ref: str) -> None:
    with registry.tensors(ref) as tensors:
        assert set(tensors) == set(pair.tuned)
        for name, tensor in pair.tuned.items():
            found = tensors[name]
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            assert bits(found) == bits(tensor), name


def test_the_cached_file_is_the_source(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = registry.path("subject", cache=cache)
    assert path.stem == sha256(path) == sha256(pair.tuned_file)
    inode = path.stat().st_ino
    assert registry.path("free", cache=cache).stat().st_ino == inode  # one file for both
    lossy = registry.path("subject", tau=TAU, cache=cache)
    assert lossy != path
    registry.thin("subject")
    assert registry.path("subject", cache=cache) == lossy


@pytest.mark.parametrize("dtype", TORCH)
def test_a_cast_is_that_of_the_source(tmp_path: Path, trained: Pair, dtype: str) -> None:
    """One rounding of the source's own numbers."""
    names = [name for name in trained.base if ".down_blocks.1." in name]
    tuned = {
        name: trained.tuned[name].to((torch.float32, torch.float16, torch.bfloat16)[number % 3])
        for number, name in enumerate(names)
    }
    write_safetensors({n: trained.base[n] for n in names}, tmp_path / "base.safetensors")
    write_safetensors(tuned, tmp_path / "tuned.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base.safetensors")
        registry.add(tmp_path / "tuned.safetensors", base="base", name="subject", lossless=True)
        made = registry.materialize("subject", tmp_path / "cast", dtype=dtype)
    assert made.lossless and not made.recorded
    found = load_file(made.path)
    for name, tensor in tuned.items():
        assert bits(found[name]) == bits(tensor.float().to(TORCH[dtype])), name


def test_differences_to_the_base_are_the_sources(registry: Registry, pair: Pair) -> None:
    found = {one.name: one for one in registry.diff_base("subject")}
    assert len(found) >= 10
    for name, one in found.items():
        base, tuned = pair.base[name].double(), pair.tuned[name].double()
        common = tuned[: len(base)] if base.ndim else tuned
        norm = float(base.norm())
        change = float((common - base).norm()) / norm if norm else 0.0
        assert one.change == pytest.approx(change, rel=1e-9), name
    registry.thin("subject")
    lossy = {one.name: one for one in registry.diff_base("subject")}
    name = "unet.down_blocks.0.low_rank"
    assert lossy[name].change != found[name].change


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of diffusers before and after: folders, shards and files in the original layout."""
    at = tmp_path_factory.mktemp("folders")
    write_pipelines(at)
    return at


def load_all(place: Path) -> State:
    return {name: tensor.clone() for name, tensor in folder(place).items()}


def test_a_folder_with_shards_and_other_files(folders: Path, tmp_path: Path) -> None:
    assert len(list((folders / "tuned/unet").glob("*-of-*.safetensors"))) > 2
    with Registry.init(tmp_path / "registry") as registry, one_thread():
        registry.add_base("folder", folders / "base")
        registry.add_base("file", folders / "base.safetensors")
        for base in ("folder", "file"):
            added = registry.add(folders / "tuned", base=base, name=base, lossless=True)
            made = registry.materialize(base, tmp_path / base)
            assert made.lossless and made.recorded
            assert made.sha256 == added.version.source.sha256
            assert files_in(made.path) == files_in(folders / "tuned")
        assert registry.verify(deep=True).is_well
        # The tensors of a folder, as one file and as the folder of another base.
        one = registry.materialize("folder", tmp_path / "one", layout="single-file")
        assert_bits(load_file(one.path), load_file(folders / "tuned.safetensors"))
        assert one.lossless and not one.recorded


def test_another_layout_has_the_sources_numbers(folders: Path, tmp_path: Path) -> None:
    """A file in the original layout as a folder; and cast besides."""
    source = load_all(folders / "tuned")
    with Registry.init(tmp_path / "registry") as registry, one_thread():
        registry.add_base("folder", folders / "base")
        registry.add(folders / "tuned.safetensors", base="folder", name="subject", lossless=True)
        assert (
            registry.materialize("subject", tmp_path / "same").path.read_bytes()
            == (folders / "tuned.safetensors").read_bytes()
        )
        made = registry.materialize("subject", tmp_path / "made", layout="diffusers")
        assert made.lossless
        found = load_all(made.path)
        assert_bits(found, {name: source[name] for name in found})
        half = registry.materialize("subject", tmp_path / "half", layout="diffusers", dtype="fp16")
        cast = {n: t.half() if t.is_floating_point() else t for n, t in source.items()}
        found = load_all(half.path)
        assert_bits(found, {name: cast[name] for name in found})
        assert len(found) > 100


def assert_bits(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert bits(found[name]) == bits(tensor), name
