"""The hashes of mounted checkpoints, as A1111 and Forge find them in their own cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import diskcache
import pytest

from dsvd_registry import Registry

from .conftest import Mount, error_of


def remembered(webui: Path, name: str, file: Path) -> str | None:
    """The SHA-256 that a web UI has of a checkpoint: the rule of its `sha256_from_cache`."""
    with diskcache.Cache(
        str(webui / "cache" / "hashes"), size_limit=2**32, disk_min_file_size=2**18
    ) as hashes:
        entry = hashes.get(f"checkpoint/{name}")
    if entry is None or os.path.getmtime(file) > entry["mtime"]:  # noqa: PTH204
        return None
    return str(entry["sha256"])


@pytest.mark.parametrize("below", ["", "dsvd"])
def test_every_mounted_checkpoint_has_its_hash(shared: Mount, tmp_path: Path, below: str) -> None:
    (tmp_path / "cache").mkdir()
    done = shared.dsvd("webui-hashes", tmp_path, "--below", below)
    files = sorted(shared.checkpoints.iterdir())
    assert (done.returncode, len(files)) == (0, 4), done.stderr
    assert done.stdout == f"4 checkpoints in {tmp_path / 'cache' / 'hashes'}\n"
    for file in files:
        name = f"{below}/{file.name}".lstrip("/")
        truth = hashlib.sha256(file.read_bytes()).hexdigest()
        assert remembered(tmp_path, name, file) == truth


def test_a_name_that_leads_to_a_newer_version_is_hashed_again(
    mounted: Mount, sources, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    assert mounted.dsvd("webui-hashes", tmp_path).returncode == 0
    with Registry.open(mounted.registry) as registry:
        registry.add(sources.later_file, base="sd15", name="dog", tau=0.3)
    name = "dog@2.safetensors"
    while not (mounted.checkpoints / name).exists():
        pass
    assert remembered(tmp_path, "dog.safetensors", mounted.checkpoints / "dog.safetensors") is None
    assert remembered(tmp_path, "dog@1.safetensors", mounted.checkpoints / "dog@1.safetensors")
    assert mounted.dsvd("webui-hashes", tmp_path).returncode == 0
    truth = hashlib.sha256((mounted.checkpoints / name).read_bytes()).hexdigest()
    newest = mounted.checkpoints / "dog.safetensors"
    assert remembered(tmp_path, "dog.safetensors", newest) == truth


def test_a_folder_that_is_no_web_ui_s_is_refused(unmounted: Mount, tmp_path: Path) -> None:
    done = unmounted.dsvd("webui-hashes", tmp_path, "--json")
    assert (done.returncode, error_of(done)["type"]) == (3, "NotFound")
    (tmp_path / "cache").mkdir()
    done = unmounted.dsvd("webui-hashes", tmp_path, "--below", "../outside", "--json")
    assert (done.returncode, error_of(done)["type"]) == (2, "InvalidArgument")
    (tmp_path / "cache" / "hashes").write_text("not a folder")
    done = unmounted.dsvd("webui-hashes", tmp_path, "--json")
    assert error_of(done)["type"] == "StorageError"
