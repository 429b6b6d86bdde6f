"""A registry that changes under its mount: versions come, go, and take over names."""

from __future__ import annotations

import filecmp
import mmap
import os
import time
from pathlib import Path

from dsvd_registry import Registry

from .conftest import Mount, Sources

SECONDS = 600.0  # far more than a name may stay; only a failure takes so long


def until(holds) -> None:
    """Wait until the kernel asks for a name again."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_same(path: Path, other: Path) -> bool:
    return filecmp.cmp(path, other, shallow=False)


def test_a_version_that_is_added_appears(mounted: Mount, sources: Sources) -> None:
    time_before = mounted.checkpoints.stat().st_mtime_ns
    done = mounted.dsvd("add", sources.later_file, "--base", "sd15", "--name", "late", "--lossless")
    assert done.returncode == 0, done.stderr
    until(lambda: (mounted.checkpoints / "late.safetensors") in mounted.checkpoints.iterdir())
    assert is_same(mounted.checkpoints / "late@1.safetensors", sources.later_file)
    # ComfyUI reads a folder again only if its time has changed.
    until(lambda: mounted.checkpoints.stat().st_mtime_ns > time_before)


def test_a_newer_version_takes_over_the_name(mounted: Mount, sources: Sources) -> None:
    """Who has the old file open or mapped keeps it, while others read the new one by the same name."""
    path = mounted.checkpoints / "exact.safetensors"
    old, new = sources.tuned_file.read_bytes(), sources.later_file.read_bytes()
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
    ):
        assert file.read(1 << 16) == old[: 1 << 16]
        with Registry.open(mounted.registry) as registry:
            registry.add(sources.later_file, base="sd15", name="exact", lossless=True)
        until(lambda: path.stat().st_ino != os.fstat(file.fileno()).st_ino)
        assert path.read_bytes() == new
        assert mapped[:] == old
        assert file.read() == old[1 << 16 :]
        assert os.fstat(file.fileno()).st_size == len(old)
    assert path.read_bytes() == new
    assert is_same(mounted.checkpoints / "exact@1.safetensors", sources.tuned_file)
    assert is_same(mounted.checkpoints / "exact@2.safetensors", sources.later_file)


def test_a_removed_version_stays_for_who_has_it_open(mounted: Mount, sources: Sources) -> None:
    path = mounted.checkpoints / "exact@1.safetensors"
    with path.open("rb") as file:
        first = file.read(100)
        with Registry.open(mounted.registry) as registry:
            registry.remove_version("exact@1")
            registry.collect_garbage(grace_days=0)
        until(lambda: not path.exists())
        assert not (mounted.checkpoints / "exact.safetensors").exists()
        assert first + file.read() == sources.tuned_file.read_bytes()


def test_an_alias_is_a_name(mounted: Mount) -> None:
    path = mounted.checkpoints / "dog@prod.safetensors"
    with Registry.open(mounted.registry) as registry:
        registry.set_alias("prod", "dog@1")
    until(path.exists)
    assert path.samefile(mounted.checkpoints / "dog@1.safetensors")
    until(lambda: path.stat().st_nlink == 3)
    with Registry.open(mounted.registry) as registry:
        registry.remove_alias("dog", "prod")
    until(lambda: not path.exists())


def test_a_version_without_its_residual_is_another_file(
    mounted: Mount, sources: Sources, tmp_path: Path
) -> None:
    """`dsvd thin` changes what a version gives: who has the exact file open keeps it."""
    path = mounted.checkpoints / "exact.safetensors"
    with path.open("rb") as file:
        assert file.read(100) == sources.tuned_file.read_bytes()[:100]
        with Registry.open(mounted.registry) as registry:
            registry.thin("exact")
            registry.materialize("exact", tmp_path / "thin.safetensors")
        until(lambda: path.stat().st_ino != os.fstat(file.fileno()).st_ino)
        assert is_same(path, tmp_path / "thin.safetensors")
        assert not is_same(path, sources.tuned_file)
        file.seek(0)
        assert file.read() == sources.tuned_file.read_bytes()


def test_a_folder_goes_with_its_version(mounted: Mount) -> None:
    place = mounted.folder / "diffusers"
    assert (place / "pipe" / "unet").is_dir()
    with Registry.open(mounted.registry) as registry:
        registry.remove_version("pipe@1")
    until(lambda: list(place.iterdir()) == [])
    until(lambda: not (place / "pipe" / "unet").exists())
