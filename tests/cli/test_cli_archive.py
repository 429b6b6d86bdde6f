"""`dsvd archive` and `dsvd restore`: what they say, what they ask, and how they end."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from .conftest import Dsvd
from .test_cli_terminal import on_terminal


@pytest.fixture
def models(here: Path, filled: Path, checkpoints: Path) -> Path:
    """A folder with a fine-tune, a LoRA and a text, beside a registry that has the base."""
    folder = here / "models"
    folder.mkdir()
    shutil.copy(checkpoints / "ft.safetensors", folder / "cat.safetensors")
    factors = {
        "mid_block.attn.to_k.lora_A.weight": torch.ones(1, 48),
        "mid_block.attn.to_k.lora_B.weight": torch.full((32, 1), 0.125),
    }
    save_file(factors, folder / "dog.safetensors", {"trigger": "dog"})
    (folder / "notes.txt").write_text("mine")
    return folder


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_dry_run_changes_nothing(dsvd: Dsvd, models: Path) -> None:
    before, versions = bytes_in(models), dsvd("ls", "--json").document
    shown = dsvd("archive", "models", "--dry-run", "--base=sd15")
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"^2 files of .* would be archived; by an estimate ", shown.out, re.MULTILINE)
    assert "1 other file below the folder: no checkpoints" in shown.out
    document = dsvd("archive", "models", "--dry-run", "--base=sd15", "--json").document
    assert [file["model"] for file in document["files"]] == ["cat", "dog"]
    assert [file["is_lora"] for file in document["files"]] == [False, True]
    sizes = [(models / f"{name}.safetensors").stat().st_size for name in ("cat", "dog")]
    assert document["file_bytes"] == sum(sizes)
    assert document["estimated_freed_bytes"] < sum(sizes)
    assert bytes_in(models) == before and dsvd("ls", "--json").document == versions


def test_there_and_back(dsvd: Dsvd, models: Path) -> None:
    before = bytes_in(models)
    times = {path.name: path.stat().st_mtime_ns for path in models.iterdir()}
    refused = dsvd("archive", "models", "--base=sd15")
    assert refused.code == 2 and "--yes" in refused.err and bytes_in(models) == before
    done = dsvd("archive", "models", "--base=sd15", "--yes")
    assert done.code == 0
    assert "2 files of " in done.err and "will be added, checked and deleted" in done.err
    assert re.search(r"^2 files archived, 0 left: .* before, .* after, ", done.out, re.MULTILINE)
    assert re.search(r"^cat@1 .* every byte  .*/models/cat\.safetensors$", done.out, re.MULTILINE)
    assert set(bytes_in(models)) == {"notes.txt"}
    kept = dsvd("rm", "cat", "--yes")
    assert kept.code == 4 and "dsvd restore cat@1" in kept.err
    restored = dsvd("restore", "models")
    assert restored.code == 0
    assert re.search(r"^restored  dog@1 .*/models/dog\.safetensors$", restored.out, re.MULTILINE)
    assert bytes_in(models) == before
    assert {path.name: path.stat().st_mtime_ns for path in models.iterdir()} == times
    again = dsvd("restore", "models")
    assert again.code == 3 and "nothing is archived" in again.err


def test_json(dsvd: Dsvd, models: Path) -> None:
    (models / "broken.ckpt").write_bytes(b"nothing")
    size = sum((models / f"{name}.safetensors").stat().st_size for name in ("cat", "dog"))
    found = dsvd("archive", "models", "--base=sd15", "--yes", "--json").document
    assert [file["ref"] for file in found["files"]] == ["cat@1", "dog@1"]
    assert found["file_bytes"] == size and found["exit_code"] == 0
    assert found["freed_bytes"] == size - found["stored_bytes"]
    (stayed,) = found["staying"]
    assert stayed["path"] == str(models / "broken.ckpt") and "not a checkpoint" in stayed["reason"]
    (models / "cat.safetensors").write_bytes(b"mine")
    back = dsvd("restore", "models", "--json")
    outcomes = [(Path(file["path"]).name, file["outcome"]) for file in back.document["files"]]
    assert outcomes == [("cat.safetensors", "refused"), ("dog.safetensors", "restored")]
    assert back.code == back.document["exit_code"] == 4
    assert dsvd("restore", "cat", "--force").code == 0


def test_a_question_on_a_terminal(dsvd: Dsvd, models: Path, here: Path) -> None:
    before = bytes_in(models)
    words = ("archive", "models", "--base=sd15")
    question = "Archive and delete 2 files"
    code, said = on_terminal(*words, cwd=here, question=question, answer="n\n")
    assert (code, "nothing was archived" in said) == (0, True)
    assert bytes_in(models) == before
    code, said = on_terminal(*words, cwd=here, question=question, answer="y\n")
    assert (code, set(bytes_in(models))) == (0, {"notes.txt"})


def test_what_is_lost_is_asked_for_by_itself(dsvd: Dsvd, models: Path) -> None:
    before = bytes_in(models)
    refused = dsvd("archive", "models", "--base=sd15", "--tau=0.5", "--yes")
    assert refused.code == 2 and "--lose-originals" in refused.err
    assert "WARNING: 1 file will be kept only LOSSILY" in refused.err
    assert bytes_in(models) == before
    done = dsvd("archive", "models", "--base=sd15", "--tau=0.5", "--yes", "--lose-originals")
    assert done.code == 0
    assert re.search(r"^cat@1 .* lossily ", done.out, re.MULTILINE)
    assert re.search(r"^dog@1 .* every byte ", done.out, re.MULTILINE)
    restored = dsvd("restore", "models")
    assert "cat.safetensors is what the lossy version gives" in restored.out
    assert bytes_in(models)["dog.safetensors"] == before["dog.safetensors"]


def test_links(dsvd: Dsvd, models: Path, here: Path) -> None:
    before = bytes_in(models)
    refused = dsvd("archive", "models", "--base=sd15", "--yes", "--link-to=elsewhere")
    assert refused.code == 2 and "not a mounted registry" in refused.err
    (here / "mnt/checkpoints").mkdir(parents=True)
    shutil.copy(models / "cat.safetensors", here / "mnt/checkpoints/cat@1.safetensors")
    done = dsvd("archive", "models", "--base=sd15", "--yes", "--link-to=mnt")
    assert done.code == 2 and "the mount does not show" in done.out  # the LoRA
    link = models / "cat.safetensors"
    assert os.readlink(link) == str(here / "mnt/checkpoints/cat@1.safetensors")  # noqa: PTH115
    assert dsvd("restore", link).code == 0
    assert not link.is_symlink() and bytes_in(models) == before
