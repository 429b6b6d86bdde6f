from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsvd_registry.cli import main

from .program import Outcome

Dsvd = Callable[..., Outcome]
Weights = dict[str, torch.Tensor]

CHANGED = ("down_blocks.0.attn.to_q.weight", "up_blocks.0.attn.to_v.weight", "conv_in.weight")


def base_weights() -> Weights:
    numbers = torch.Generator().manual_seed(7)
    return {
        "conv_in.weight": 0.1 * torch.randn(32, 4, 3, 3, generator=numbers),
        "down_blocks.0.attn.to_q.weight": 0.1 * torch.randn(32, 48, generator=numbers),
        "mid_block.attn.to_k.weight": 0.1 * torch.randn(32, 48, generator=numbers),
        "mid_block.norm.bias": torch.randn(32, generator=numbers),
        "time_embedding.bias": torch.randn(4, generator=numbers),
        "up_blocks.0.attn.to_v.weight": 0.1 * torch.randn(32, 48, generator=numbers),
    }


def fine_tuned(seed: int, size: float = 0.005) -> Weights:
    """The base plus deltas of falling singular values; with one tensor more and one less than it."""
    numbers = torch.Generator().manual_seed(seed)
    weights = base_weights()
    for name in CHANGED:
        matrix = weights[name].flatten(1)
        left = torch.randn(matrix.shape[0], 6, generator=numbers)
        right = torch.randn(6, matrix.shape[1], generator=numbers) / torch.arange(1, 7)[:, None]
        weights[name] = (matrix + size * left @ right).reshape(weights[name].shape)
    weights["mid_block.norm.bias"] += size * torch.randn(32, generator=numbers)
    weights["text_encoder.token"] = torch.randn(3, generator=numbers)
    del weights["time_embedding.bias"]
    return weights


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and with fine-tunes of it, in both formats."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_file(base_weights(), folder / "base.safetensors")
    save_file(fine_tuned(1), folder / "ft.safetensors", {"trained": "here"})
    torch.save({"state_dict": fine_tuned(2)}, folder / "other.ckpt")
    return folder


@pytest.fixture(scope="session")
def filled_template(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "registry"
    for words in (
        ("init",),
        ("base", "add", "sd15", str(checkpoints / "base.safetensors")),
        ("add", str(checkpoints / "ft.safetensors"), "--base=sd15", "--name=subject-42"),
        ("add", str(checkpoints / "other.ckpt"), "--base=sd15", "--name=subject-42", "--tau=0.9"),
    ):
        assert main(["--registry", str(root), *words]) == 0
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; the user's data folder is beside it."""
    for variable in ("DSVD_REGISTRY", "DSVD_CATALOG", "DSVD_DEBUG", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def filled(here: Path, filled_template: Path) -> Path:
    """A registry in the current folder's .dsvd: the base sd15, subject-42@1 and subject-42@2."""
    return Path(shutil.copytree(filled_template, here / ".dsvd"))


@pytest.fixture
def dsvd(here: Path, capsys: pytest.CaptureFixture[str]) -> Dsvd:
    """Run a command in this process and take what it said."""

    def call(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call
