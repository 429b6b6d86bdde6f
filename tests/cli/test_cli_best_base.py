"""`dsvd add` without --base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from .conftest import Dsvd, base_weights, fine_tuned


@pytest.fixture
def sibling(dsvd: Dsvd, here: Path, filled: Path) -> str:
    """A second base, of the same names and shapes."""
    numbers = torch.Generator().manual_seed(99)
    weights = {
        name: tensor.std() * torch.randn(tensor.shape, generator=numbers)
        for name, tensor in base_weights().items()
    }
    save_file(weights, "sibling.safetensors")
    assert dsvd("base", "add", "a-sibling", "sibling.safetensors").code == 0
    return "a-sibling"


def test_the_only_one(dsvd: Dsvd, filled: Path, checkpoints: Path) -> None:
    added = dsvd("add", checkpoints / "ft.safetensors", "--name", "new")
    assert added.code == 0
    said, then, *_ = added.out.splitlines()
    assert said.startswith("its base is sd15: 83 % of its tensors, changed by 0.0")
    assert said.endswith(" in a sample; no other base fits")
    assert then == "added new@1"


def test_the_nearer_of_two(dsvd: Dsvd, sibling: str, checkpoints: Path) -> None:
    added = dsvd("add", checkpoints / "ft.safetensors", "--name", "new")
    said = added.out.splitlines()[0]
    assert said.startswith("its base is sd15: ")
    assert said.endswith(f" times as much from {sibling}")
    assert dsvd("show", "new", "--json").document["base_name"] == "sd15"
    document = dsvd("add", checkpoints / "ft.safetensors", "--name", "new", "--json").document
    assert document["created"] is False
    match = document["match"]
    assert (match["is_sure"], match["rival"]) == (True, sibling)
    assert match["margin"] > 2
    assert [candidate["name"] for candidate in match["candidates"]] == ["sd15", sibling]
    assert (
        "match"
        not in dsvd(
            "add", checkpoints / "ft.safetensors", "--name", "new", "--base", "sd15", "--json"
        ).document
    )


def test_the_base_itself(dsvd: Dsvd, sibling: str, checkpoints: Path) -> None:
    said = dsvd("add", checkpoints / "base.safetensors").out.splitlines()[0]
    assert said == (
        "its base is sd15: 100 % of its tensors, changed by 0 in a sample; not so from a-sibling"
    )


def test_not_sure(dsvd: Dsvd, here: Path, filled: Path, checkpoints: Path) -> None:
    """Two fine-tunes of one base are bases: which of them a third one comes from does not show."""
    save_file(fine_tuned(11), "near-1.safetensors")
    save_file(fine_tuned(12), "near-2.safetensors")
    for name in ("near-1", "near-2"):
        assert dsvd("base", "add", name, f"{name}.safetensors").code == 0
    dsvd("rm", "subject-42@1", "--yes")
    dsvd("rm", "subject-42@2", "--yes")
    assert dsvd("base", "rm", "sd15").code == 0
    unsure = dsvd("add", checkpoints / "ft.safetensors")
    assert (unsure.code, unsure.out) == (2, "")
    assert "which base " in unsure.err
    assert "ft.safetensors was made from is not sure: near-" in unsure.err
    for name in ("near-1", "near-2"):
        assert f"{name} (100 % of the tensors, change 0.0" in unsure.err
    assert "hint: Name it: --base near-" in unsure.err
    as_json = dsvd("add", checkpoints / "ft.safetensors", "--json")
    assert as_json.error["type"] == "UnsureBase"
    assert dsvd("add", checkpoints / "ft.safetensors", "--base", "near-1").code == 0


def test_none_fits(dsvd: Dsvd, here: Path, filled: Path) -> None:
    save_file({"elsewhere": torch.ones(3)}, "strange.safetensors")
    strange = dsvd("add", "strange.safetensors")
    assert strange.code == 7
    assert (
        "strange.safetensors (unknown family, unknown layout) is a fine-tune of no base here"
        in strange.err
    )
    assert "sd15 (0 % of the tensors)" in strange.err
    assert "dsvd base add NAME FILE" in strange.err


def test_no_base(dsvd: Dsvd, here: Path, checkpoints: Path) -> None:
    assert dsvd("init", ".dsvd").code == 0
    for words in ((), (checkpoints / "other.ckpt",)):
        none = dsvd("add", checkpoints / "ft.safetensors", *words)
        assert (none.code, none.out) == (3, "")
        assert "the registry has no base" in none.err


def test_a_lora_file(dsvd: Dsvd, here: Path, filled: Path, sibling: str) -> None:
    save_file(
        {
            "mid_block.attn.to_k.lora_A.weight": torch.ones(2, 48),
            "mid_block.attn.to_k.lora_B.weight": 1e-3 * torch.ones(32, 2),
        },
        "lora.safetensors",
    )
    unsure = dsvd("add", "lora.safetensors")
    assert unsure.code == 2
    assert "a-sibling (100 % of the tensors); sd15 (100 % of the tensors)" in unsure.err
    assert dsvd("base", "rm", sibling).code == 0
    added = dsvd("add", "lora.safetensors")
    assert added.out.startswith(
        "its base is sd15: 100 % of its tensors; no other base fits\nadded lora@1\n"
    )


def test_of_many_each_its_own(dsvd: Dsvd, sibling: str, checkpoints: Path) -> None:
    weights = load_file("sibling.safetensors")
    save_file({name: 1.01 * tensor for name, tensor in weights.items()}, "cat.safetensors")
    found = dsvd("add", "cat.safetensors", checkpoints / "ft.safetensors")
    assert found.code == 0
    heading, cat, ft, *_ = found.out.splitlines()
    assert "change to it" in heading
    assert cat.split()[:3] == ["added", "cat@1", sibling]
    assert "times as much from sd15" in cat
    assert ft.split()[:3] == ["added", "ft@1", "sd15"]
    assert f"times as much from {sibling}" in ft
