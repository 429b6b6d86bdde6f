"""LoRA files in a mount: exports of versions, and LoRA files that were added, to the byte."""

from __future__ import annotations

import filecmp
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_pictures import picture

from dsvd_registry import Registry

from .conftest import Mount, Sources
from .test_mount_changes import until


@pytest.fixture(scope="module")
def exported(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The LoRA of dog@1 for kohya's loaders, as `dsvd export` writes it."""
    path = tmp_path_factory.mktemp("exported") / "dog.safetensors"
    with Registry.open(template) as registry:
        registry.export_lora("dog", path, format="kohya")
    return path


def test_an_export_has_its_size_before_it_is_made(mounted: Mount, exported: Path) -> None:
    path = mounted.folder / "loras" / "dog.safetensors"
    size = path.stat().st_size
    cache = mounted.home / "cache" / "dsvd"
    assert not list(cache.glob("*.safetensors"))
    assert len(path.read_bytes()) == size
    assert len(list(cache.glob("*.safetensors"))) == 1
    ours, theirs = load_file(path), load_file(exported)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    with safe_open(path, "pt") as one, safe_open(exported, "pt") as other:
        assert one.metadata() == other.metadata()
    said = subprocess.run(["ls", "-l", path.parent], capture_output=True, text=True, check=True)
    sizes = {line.split()[-1]: int(line.split()[4]) for line in said.stdout.splitlines()[1:]}
    assert sizes["dog.safetensors"] == sizes["dog@1.safetensors"] == size


def test_a_lora_that_was_added_is_given_to_the_byte(
    mounted: Mount, exported: Path, sources: Sources
) -> None:
    with Registry.open(mounted.registry) as registry:
        registry.add(exported, base="sd15", name="style", lossless=True)
    path = mounted.folder / "loras" / "style@1.safetensors"
    until(path.exists)
    assert path.stat().st_size == exported.stat().st_size
    assert filecmp.cmp(path, exported, shallow=False)


def test_a_damaged_original_is_refused(mounted: Mount, exported: Path) -> None:
    with Registry.open(mounted.registry) as registry:
        version = registry.add(exported, base="sd15", name="style", lossless=True).version
        place = registry.repository.objects.local_file(version.source.sha256)
    path = mounted.folder / "loras" / "style.safetensors"
    until(path.exists)
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.chmod(0o600)
    with path.open("rb") as file:
        assert file.read(10) == data[:10]
        place.write_bytes(data)
        # The kernel may have read ahead, before the damage.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with pytest.raises(OSError, match="Input/output"):
            file.seek(len(data) // 2) and file.read()
    with pytest.raises(OSError, match="Input/output"):
        path.read_bytes()
    assert mounted.log.count(f"the original of {version.ref}, {place}, is damaged") == 1


def test_what_has_no_lora_is_not_listed(mounted: Mount, tmp_path: Path) -> None:
    """A version of a family without LoRA files."""
    from safetensors.torch import save_file

    weights = {f"layer.{n}.weight": torch.randn(16, 16) for n in range(3)}
    save_file(weights, tmp_path / "base.safetensors")
    save_file({n: t + 0.01 for n, t in weights.items()}, tmp_path / "ft.safetensors")
    with Registry.open(mounted.registry) as registry:
        registry.add_base("other", tmp_path / "base.safetensors")
        registry.add(tmp_path / "ft.safetensors", base="other", name="odd")
    until((mounted.checkpoints / "odd.safetensors").exists)
    names = {path.name for path in (mounted.folder / "loras").iterdir()}
    assert "dog.safetensors" in names
    assert "odd.safetensors" not in names


def test_previews_and_sidecars_stand_beside(mounted: Mount, tmp_path: Path) -> None:
    """Under the names that A1111 and its helpers look for, and only where the version has them."""
    (tmp_path / "grid.png").write_bytes(picture())
    (tmp_path / "other.jpg").write_bytes(picture("JPEG"))
    (tmp_path / "old.civitai.info").write_text('{"trainedWords": ["sks"]}')
    with Registry.open(mounted.registry) as registry:
        registry.attach("dog", tmp_path / "grid.png")
        registry.attach("dog", tmp_path / "old.civitai.info")
        registry.attach("pipe", tmp_path / "grid.png")
    until((mounted.checkpoints / "dog.preview.png").exists)
    for folder in (mounted.checkpoints, mounted.folder / "loras"):
        for stem in ("dog", "dog@1"):
            assert (folder / f"{stem}.preview.png").read_bytes() == picture()
            assert (folder / f"{stem}.civitai.info").read_text() == '{"trainedWords": ["sks"]}'
            assert (folder / f"{stem}.preview.png").stat().st_size == len(picture())
    names = {path.name for path in mounted.checkpoints.iterdir()}
    assert {name for name in names if not name.endswith(".safetensors")} == {
        *("dog.preview.png", "dog.civitai.info", "dog@1.preview.png", "dog@1.civitai.info"),
    }
    with Registry.open(mounted.registry) as registry:
        registry.attach("dog", tmp_path / "other.jpg", role="preview")
        registry.detach("dog", "old.civitai.info")
    until((mounted.checkpoints / "dog.preview.jpg").exists)
    # The kernel may know the former names for a moment.
    until(lambda: not (mounted.checkpoints / "dog.preview.png").exists())
    until(lambda: not (mounted.checkpoints / "dog.civitai.info").exists())
    assert (mounted.checkpoints / "dog.preview.jpg").read_bytes() == picture("JPEG")
