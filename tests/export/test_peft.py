"""Folders loaded by `peft.PeftModel`, and the configuration in the metadata of a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn

from dsvd_registry.errors import Conflict, InvalidArgument
from dsvd_registry.export.pairs import Pair
from dsvd_registry.export.peft import METADATA_KEY, Peft

from .effect import check

# What the tensors of each model are called in an SDXL file in the original layout.
PREFIXES = {
    "unet": "model.diffusion_model.",
    "text_encoder": "conditioner.embedders.0.",
    "text_encoder_2": "conditioner.embedders.1.",
}


# peft 0.21 asks transformers 5.23 for an attribute by its older name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("model", PREFIXES)
def test_a_peft_model(subject_of, model: str, tmp_path: Path) -> None:
    subject = subject_of("sdxl")
    folder = tmp_path / "adapters"
    lora = subject.registry.export_lora("subject", folder, format="peft")
    pipeline = subject.pipeline()
    module = getattr(pipeline, model)
    peft = PeftModel.from_pretrained(module, folder / model)  # warns of missing keys
    loaded = {name.replace(".default.", ".") for name in peft.state_dict() if ".lora_" in name}
    assert loaded == load_file(folder / model / "adapter_model.safetensors").keys()
    setattr(pipeline, model, peft.merge_and_unload())
    check(subject, subject.named(pipeline), lora, [PREFIXES[model]])
    left_out = {entry.name for entry in lora.left_out}
    assert "conditioner.embedders.1.model.text_projection" not in left_out


def test_the_folders(subject_of, tmp_path: Path) -> None:
    """They have the tensors of the file for diffusers, and the ranks as vLLM and PEFT read them."""
    subject, folder = subject_of("flux"), tmp_path / "adapters"
    file = tmp_path / "lora.safetensors"
    whole = subject.registry.export_lora("subject", file, format="peft", rank_limit=3)
    lora = subject.registry.export_lora("subject", folder, format="peft", rank_limit=3)
    assert lora.error == whole.error > 0
    assert lora.sha256 is None
    assert {(f.path, f.size, f.sha256) for f in lora.files} == {
        (path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*.*")
    }
    expected = load_file(file)
    for model in ("transformer", "text_encoder"):
        tensors = load_file(folder / model / "adapter_model.safetensors")
        for name, tensor in tensors.items():
            local = name.removeprefix("base_model.model.")
            prefix = "text_encoder.text_model" if model == "text_encoder" else model
            assert torch.equal(tensor, expected.pop(f"{prefix}.{local}"))
        document = json.loads((folder / model / "adapter_config.json").read_text())
        ranks = {
            name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): len(tensor)
            for name, tensor in tensors.items()
            if name.endswith(".lora_A.weight")
        }
        # vLLM multiplies every pair by this, and allots memory for this rank.
        assert document["lora_alpha"] / document["r"] == 1
        assert document["r"] == max(ranks.values()) == 3
        assert document["target_modules"] == sorted(ranks)
        assert document["peft_type"] == "LORA"
    assert not expected


def test_what_a_folder_replaces(subject_of, tmp_path: Path) -> None:
    registry, folder = subject_of("sd1").registry, tmp_path / "adapters"
    registry.export_lora("subject", folder, format="peft", rank_limit=1)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    with pytest.raises(Conflict):
        registry.export_lora("subject", folder, format="peft", rank_limit=2)
    registry.export_lora("subject", folder, format="peft", rank_limit=2, replace=True)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} != before
    (folder / "unet" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidArgument, match="is not a folder that an export for PEFT wrote"):
        registry.export_lora("subject", folder, format="peft", replace=True)
    assert (folder / "unet" / "notes.txt").read_text() == "mine"
    with pytest.raises(InvalidArgument, match="a pickle of torch"):
        registry.export_lora("subject", tmp_path / "lora.pt", format="peft")
    assert [path.name for path in tmp_path.iterdir()] == ["adapters"]


def test_modules_whose_paths_end_alike_keep_their_ranks() -> None:
    """PEFT finds modules by the end of their paths; FLUX has `proj_out` in and outside its blocks."""
    blocks = nn.ModuleList(nn.ModuleDict({"proj_out": nn.Linear(6, 5)}) for _ in range(2))
    model = nn.ModuleDict({"blocks": blocks, "proj_out": nn.Linear(6, 5)})
    ranks = {"proj_out": 3, "blocks.0.proj_out": 2, "blocks.1.proj_out": 2}
    pairs = {
        f"transformer.{path}": Pair(torch.zeros(5, rank), torch.zeros(rank, 6), rank)
        for path, rank in ranks.items()
    }
    document = json.loads(Peft("flux").metadata(pairs)[METADATA_KEY])
    fields = {name.removeprefix("transformer."): value for name, value in document.items()}
    peft = get_peft_model(model, LoraConfig(**fields))
    for path, rank in ranks.items():
        layer = peft.base_model.model.get_submodule(path)
        assert (layer.r["default"], layer.lora_alpha["default"]) == (rank, rank)
