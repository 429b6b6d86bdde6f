"""Links into a real mount that an archive leaves: user interfaces still list and read the files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from dsvd_registry import Registry

from .conftest import Mount, Sources

MTIME = 1_600_000_000_123_456_789  # ns


@pytest.fixture
def models(template: Path, sources: Sources, tmp_path: Path) -> Path:
    """A folder with a fine-tune and, in a folder below it, a LoRA, with times of their own."""
    folder = tmp_path / "models"
    (folder / "loras").mkdir(parents=True)
    shutil.copy(sources.later_file, folder / "cat.safetensors")
    with Registry.open(template) as registry:
        registry.export_lora("dog", folder / "loras/style.safetensors", format="kohya")
    for number, path in enumerate(sorted(folder.rglob("*.safetensors"))):
        os.utime(path, ns=(MTIME, MTIME + number))
        path.chmod((0o640, 0o444)[number])
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    """What a user interface finds that walks the folder, and reads what it finds."""
    return {
        str(Path(place, name).relative_to(folder)): Path(place, name).read_bytes()
        for place, _, names in os.walk(folder)
        for name in names
    }


def status_of(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_mode, status.st_mtime_ns


def archive(mount: Mount, models: Path) -> str:
    words = ("--base", "sd15", "--link-to", mount.folder, "--yes")
    done = mount.dsvd("archive", models, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def restore(mount: Mount, models: Path) -> None:
    done = mount.dsvd("restore", models)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_and_back(mounted: Mount, models: Path) -> None:
    """First with the mount; then without it, where links lead nowhere and are replaced all the same."""
    before = files_below(models)
    statuses = {name: status_of(models / name) for name in before}
    assert set(before) == {"cat.safetensors", "loras/style.safetensors"}
    assert "2 files archived, 0 left" in archive(mounted, models)
    assert (models / "cat.safetensors").readlink() == mounted.checkpoints / "cat@1.safetensors"
    lora = mounted.folder / "loras/style@1.safetensors"
    assert (models / "loras/style.safetensors").readlink() == lora
    assert files_below(models) == before
    with safe_open(models / "cat.safetensors", "pt") as file:
        assert file.metadata() == {"title": "later"}
    restore(mounted, models)
    assert {name: status_of(models / name) for name in before} == statuses
    archive(mounted, models)
    assert mounted.dsvd("umount", mounted.folder).returncode == 0
    assert not (models / "cat.safetensors").exists()
    restore(mounted, models)
    assert {name: status_of(models / name) for name in before} == statuses
    assert files_below(models) == before


def test_a_mount_with_a_tau_is_refused(unmounted: Mount, models: Path) -> None:
    """It shows files of the same sizes with other bytes: the fine-tune stays, the LoRA is the same."""
    before = files_below(models)
    unmounted.start("--tau", "0.9")
    words = ("--base", "sd15", "--link-to", unmounted.folder, "--yes")
    done = unmounted.dsvd("archive", models, *words)
    assert done.returncode == 2
    assert "the mount does not show" in done.stdout and "--tau" in done.stdout
    assert not (models / "cat.safetensors").is_symlink()
    assert (models / "loras/style.safetensors").is_symlink()
    assert files_below(models) == before
