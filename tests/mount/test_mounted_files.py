"""A mounted registry as a folder of ordinary files: bytes, sizes, times, and programs that read it."""

from __future__ import annotations

import errno
import filecmp
import mmap
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from layouts.pipelines import models
from lora.pipelines import PIPELINES
from safetensors import safe_open
from safetensors.torch import load_file

from dsvd_registry import Registry

from .conftest import Mount, Sources


@pytest.fixture(scope="module")
def truth(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of dog@1, written by `materialize`."""
    path = tmp_path_factory.mktemp("truth") / "dog.safetensors"
    with Registry.open(template) as registry:
        registry.materialize("dog", path)
    return path


def test_names(shared: Mount) -> None:
    names = sorted(path.name for path in shared.checkpoints.iterdir())
    assert names == [f"{name}.safetensors" for name in ("dog", "dog@1", "exact", "exact@1")]
    assert sorted(path.name for path in (shared.folder / "diffusers").iterdir()) == [
        "pipe",
        "pipe@1",
    ]


def test_bytes_of_a_lossy_version_are_those_of_materialize(shared: Mount, truth: Path) -> None:
    assert filecmp.cmp(shared.checkpoints / "dog.safetensors", truth, shallow=False)


def test_bytes_of_a_lossless_version_are_those_that_were_added(
    shared: Mount, sources: Sources
) -> None:
    assert filecmp.cmp(
        shared.checkpoints / "exact@1.safetensors", sources.tuned_file, shallow=False
    )


def test_a_folder_of_diffusers_is_the_one_that_was_added(shared: Mount, sources: Sources) -> None:
    added = {path.relative_to(sources.tuned) for path in sources.tuned.rglob("*")}
    for name in ("pipe", "pipe@1"):
        there = shared.folder / "diffusers" / name
        assert {path.relative_to(there) for path in there.rglob("*")} == added
        for path in added:
            if (sources.tuned / path).is_file():
                assert filecmp.cmp(there / path, sources.tuned / path, shallow=False)


def test_any_range_in_any_order_by_many_readers(shared: Mount, truth: Path) -> None:
    data = truth.read_bytes()
    numbers = random.Random(5)
    ranges = [
        (numbers.randrange(len(data) + 10), numbers.choice([1, 7, 4096, 70_000, 2 << 20]))
        for _ in range(200)
    ]

    def is_right(asked: tuple[int, int]) -> bool:
        offset, size = asked
        descriptor = os.open(shared.checkpoints / "dog.safetensors", os.O_RDONLY)
        try:
            return os.pread(descriptor, size, offset) == data[offset : offset + size]
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_right, ranges))


def test_the_file_can_be_mapped(shared: Mount, truth: Path) -> None:
    with (
        (shared.checkpoints / "dog@1.safetensors").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED) as mapped,
    ):
        assert mapped[:] == truth.read_bytes()


def test_safetensors_maps_it(shared: Mount, truth: Path) -> None:
    expected = load_file(truth)
    with safe_open(shared.checkpoints / "dog.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(expected)
        for name in file.keys():  # noqa: SIM118 - it is no dict
            assert torch.equal(file.get_tensor(name), expected[name])


def test_diffusers_loads_the_folder(shared: Mount, sources: Sources) -> None:
    place = shared.folder / "diffusers" / "pipe" / "unet"
    loaded = UNet2DConditionModel.from_pretrained(place).state_dict()
    expected = load_file(sources.tuned / "unet" / "diffusion_pytorch_model.safetensors")
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_diffusers_loads_the_single_file(shared: Mount, sources: Sources) -> None:
    kind = type(PIPELINES["sd1"]())
    absent = dict.fromkeys(("tokenizer", "safety_checker", "feature_extractor"))
    ours, theirs = (
        models(
            kind.from_single_file(
                str(path), config=str(sources.base), local_files_only=True, **absent
            )
        )
        for path in (shared.checkpoints / "exact.safetensors", sources.tuned_file)
    )
    assert set(ours) == set(theirs)
    for part, model in theirs.items():
        state = ours[part].state_dict()
        assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())


def test_sizes_and_times_are_right_in_ls(shared: Mount, template: Path, truth: Path) -> None:
    with Registry.open(template) as registry:
        added = registry.version("dog").added
    listed = subprocess.run(
        ["ls", "-l", "--time-style=+%s.%N", shared.checkpoints / "dog.safetensors"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert listed[0] == "-r--r--r--"
    assert int(listed[4]) == truth.stat().st_size
    assert listed[5] == f"{int(added.timestamp())}.{added.microsecond:06d}000"


def test_du_counts_each_version_once(shared: Mount, sources: Sources, truth: Path) -> None:
    def kibibytes(*paths: Path) -> int:
        return sum(-(-path.stat().st_size // 4096) * 4 for path in paths)

    said = subprocess.run(
        ["du", "-k", "-s", shared.checkpoints], capture_output=True, text=True, check=True
    ).stdout
    assert int(said.split()[0]) == kibibytes(truth, sources.tuned_file)


def test_a_walk_finds_what_a_user_interface_looks_for(shared: Mount, sources: Sources) -> None:
    """Models are listed by `os.walk`, ending and size in A1111 and ComfyUI."""
    paths = [
        Path(folder, name)
        for folder, _, names in os.walk(shared.folder, followlinks=True)
        for name in names
        if name.endswith(".safetensors")
    ]
    found = {str(path.relative_to(shared.folder)): path.stat().st_size for path in paths}
    assert found["checkpoints/exact.safetensors"] == sources.tuned_file.stat().st_size
    for path in sources.tuned.rglob("*.safetensors"):
        place = f"diffusers/pipe/{path.relative_to(sources.tuned)}"
        assert found[place] == path.stat().st_size


@pytest.mark.parametrize(
    "change",
    [
        lambda place: (place / "new").write_bytes(b"x"),
        lambda place: (place / "dog.safetensors").open("r+b"),
        lambda place: (place / "dog.safetensors").unlink(),
        lambda place: (place / "dog.safetensors").rename(place / "cat.safetensors"),
        lambda place: (place / "dog.safetensors").chmod(0o600),
        lambda place: (place / "new").mkdir(),
        lambda place: os.utime(place / "dog.safetensors"),
        lambda place: os.truncate(place / "dog.safetensors", 0),
    ],
)
def test_nothing_can_be_written(shared: Mount, change) -> None:
    with pytest.raises(OSError, match="Read-only file system") as caught:
        change(shared.checkpoints)
    assert caught.value.errno == errno.EROFS


def test_the_filesystem_is_full_and_as_large_as_its_files(shared: Mount) -> None:
    status = os.statvfs(shared.folder)
    files = {
        path.stat().st_ino: path.stat().st_size
        for path in shared.folder.rglob("*")
        if path.is_file()
    }
    assert status.f_blocks == -(-sum(files.values()) // status.f_frsize)
    assert (status.f_bavail, status.f_files) == (0, len(files))


def test_a_missing_name(shared: Mount) -> None:
    for name in ("nothing", "dog@2.safetensors", "\udcff", "a" * 255):
        assert not (shared.checkpoints / name).exists()
    with pytest.raises(NotADirectoryError):
        (shared.checkpoints / "dog.safetensors" / "x").stat()
