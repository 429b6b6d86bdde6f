"""Training of LoRAs, of the small model and of real ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

from demo.pictures import Photographed
from demo.training import PARTS, Examples, Plan, Progress, shown, train

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def write_lora(
    base: Any,
    subject: Photographed,
    prior: Examples,
    plan: Plan,
    side: int,
    rank: int,
    file: Path,
    progress: Progress,
) -> None:
    """Train a LoRA of the attention projections of a copy of the U-Net, and write it in fp16."""
    tuned = copy.deepcopy(base)
    for part in PARTS:
        getattr(tuned, part).requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(ATTENTION)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        tuned.unet.add_adapter(config)
    trained = [p for p in tuned.unet.parameters() if p.requires_grad]
    sources = [shown(subject), prior or shown(subject)]
    train(tuned, sources, trained, plan, side, f"{subject.name}, LoRA {rank}", progress)
    found: Mapping[str, torch.Tensor] = get_peft_model_state_dict(tuned.unet)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"unet.{name}": v.half().contiguous() for name, v in found.items()}, file)


def lora_parameters(unet: nn.Module, rank: int) -> int:
    """The parameters of a LoRA of this rank on the attention projections of a U-Net."""
    return sum(
        rank * (module.in_features + module.out_features)
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(ATTENTION)
    )
