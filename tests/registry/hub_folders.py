"""Small pipelines in folders, written by diffusers itself, and what a loader finds in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from layouts.pipelines import clip, models, randomised
from transformers import CLIPTextModel

State = dict[str, torch.Tensor]
UNET, SHARD_SIZE = "diffusion_pytorch_model", "40KB"


def make_pair(place: Path) -> tuple[Path, Path]:
    """A base, and a fine-tune of its U-Net with changes of low rank."""
    pipeline = randomised(smallest_pipeline())
    pipeline.save_pretrained(place / "base")
    make = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in pipeline.unet.parameters():
            if parameter.ndim > 1:
                flat = parameter.view(len(parameter), -1)
                flat += 0.01 * torch.outer(
                    torch.randn(len(flat), generator=make),
                    torch.randn(flat.shape[1], generator=make),
                )
    pipeline.save_pretrained(place / "tuned")
    return place / "base", place / "tuned"


def smallest_pipeline() -> DiffusionPipeline:
    """A pipeline of the classes of Stable Diffusion, with the fewest possible tensors."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=[4], norm_num_groups=4),
        text_encoder=CLIPTextModel(clip(12)),
        tokenizer=None,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=[16],
            down_block_types=["CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D"],
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=12,
            attention_head_dim=4,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def shard_unet(pipeline: Path) -> None:
    """The same U-Net in several files, by its own class."""
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
    (pipeline / "unet" / f"{UNET}.safetensors").unlink()
    unet.save_pretrained(pipeline / "unet", max_shard_size=SHARD_SIZE)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, symlinks=True))


def loaded(place: Path) -> State:
    """The weights that diffusers loads from a pipeline's folder, by sub-model and name."""
    index = json.loads((place / "model_index.json").read_text())
    none = {
        name: None for name in ("tokenizer", "feature_extractor", "image_encoder") if name in index
    }
    pipeline = DiffusionPipeline.from_pretrained(place, **none, local_files_only=True)
    return {
        f"{name}/{own}": tensor
        for name, model in models(pipeline).items()
        for own, tensor in model.state_dict().items()
    }


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def bytes_in(folder: Path) -> dict[str, bytes]:
    """Every plain file below a folder, through links too."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found |= {f"{path.name}/{name}": data for name, data in bytes_in(path).items()}
        else:
            found[path.name] = path.read_bytes()
    return found
