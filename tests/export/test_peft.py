"""Files loaded by `peft.PeftModel`: one model's part, and the configuration in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dsvd_registry.export.pairs import Pair
from dsvd_registry.export.peft import METADATA_KEY, Peft

from .effect import check

# What the tensors of each model are called in an SDXL file in the original layout.
PREFIXES = {
    "unet": "model.diffusion_model.",
    "text_encoder": "conditioner.embedders.0.",
    "text_encoder_2": "conditioner.embedders.1.",
}


def adapter_folder(file: Path, model: str, module: nn.Module, folder: Path) -> Path:
    """Write a model's part of a file as a folder that PEFT loads, with `base_model.model.` in front.

    `text_model.` is removed if the `module` has no such part, as diffusers does.
    """
    with safe_open(file, "pt") as opened:
        document: dict[str, Any] = json.loads(opened.metadata()[METADATA_KEY])
    prefix = f"{model}."
    fields = {k.removeprefix(prefix): v for k, v in document.items() if k.startswith(prefix)}
    found = load_file(file).items()
    tensors = {n.removeprefix(prefix): t for n, t in found if n.startswith(prefix)}
    if not hasattr(module, "text_model"):
        tensors = {n.removeprefix("text_model."): t for n, t in tensors.items()}
    LoraConfig(**fields).save_pretrained(folder)
    save_file(
        {f"base_model.model.{name}": tensor for name, tensor in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


# peft 0.21 asks transformers 5.23 for an attribute by its older name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("model", PREFIXES)
def test_a_peft_model(subject_of, model: str, file: Path, tmp_path: Path) -> None:
    subject = subject_of("sdxl")
    lora = subject.registry.export_lora("subject", file, format="peft")
    pipeline = subject.pipeline()
    module = getattr(pipeline, model)
    folder = adapter_folder(file, model, module, tmp_path / "adapter")
    peft = PeftModel.from_pretrained(module, folder)  # warns of missing keys
    setattr(pipeline, model, peft.merge_and_unload())
    check(subject, subject.named(pipeline), lora, [PREFIXES[model]])
    left_out = {entry.name for entry in lora.left_out}
    assert "conditioner.embedders.1.model.text_projection" not in left_out


def test_modules_whose_paths_end_alike_keep_their_ranks() -> None:
    """PEFT finds modules by the end of their paths; FLUX has `proj_out` in and outside its blocks."""
    blocks = nn.ModuleList(nn.ModuleDict({"proj_out": nn.Linear(6, 5)}) for _ in range(2))
    model = nn.ModuleDict({"blocks": blocks, "proj_out": nn.Linear(6, 5)})
    ranks = {"proj_out": 3, "blocks.0.proj_out": 2, "blocks.1.proj_out": 2}
    pairs = {
        f"transformer.{path}": Pair(torch.zeros(5, rank), torch.zeros(rank, 6), rank)
        for path, rank in ranks.items()
    }
    document = json.loads(Peft().metadata(pairs)[METADATA_KEY])
    fields = {name.removeprefix("transformer."): value for name, value in document.items()}
    peft = get_peft_model(model, LoraConfig(**fields))
    for path, rank in ranks.items():
        layer = peft.base_model.model.get_submodule(path)
        assert (layer.r["default"], layer.lora_alpha["default"]) == (rank, rank)
