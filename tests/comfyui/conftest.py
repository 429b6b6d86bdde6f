"""A registry with subjects of a checkpoint that ComfyUI takes for Stable Diffusion 1.5."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from layouts.original import State, original_unet, prefixed
from layouts.pipelines import vae, with_text_model
from layouts.training import trained
from PIL import Image
from safetensors.torch import load_file, save_file
from trained_pair import one_thread
from transformers import CLIPTextConfig, CLIPTextModel

from dsvd_registry import Registry

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "integrations" / "comfyui"
TAU, LOWER_TAU = 0.5, 0.2


@dataclass(frozen=True)
class Shelf:
    """A registry, and what went into it.

    `subject` is `tuned`, lossless, over a container of tau 0.5; `faint` is the same at 0.2. Their base
    is `base`. `picture` is the preview of `subject`. `stranger` has another base, with other widths.
    """

    registry: Path
    base: Path
    tuned: Path
    picture: Path

    def truth(self, ref: str, tau: float) -> State:
        """The tensors of what `dsvd materialize --tau` writes."""
        output = self.registry.parent / f"{ref}-{tau}.safetensors"
        if not output.exists():
            with Registry.open(self.registry) as registry:
                registry.materialize(ref, output, tau=tau)
        return load_file(output)


def _pipeline(width: int, context: int) -> StableDiffusionPipeline:
    """A pipeline of one level. ComfyUI tells a family by these two widths alone."""
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[width],
        down_block_types=["CrossAttnDownBlock2D"],
        up_block_types=["UpBlock2D"],
        layers_per_block=1,
        cross_attention_dim=context,
        attention_head_dim=8,
    )
    text = CLIPTextConfig(
        vocab_size=40,
        hidden_size=context,
        intermediate_size=4 * context,
        num_hidden_layers=1,
        num_attention_heads=12,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=1,
    )
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(text),
        tokenizer=None,
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _save(pipeline: StableDiffusionPipeline, path: Path) -> Path:
    """Save the U-Net and the text encoder in the original layout.

    The text encoder is a part of the real one: ComfyUI always builds that, and takes what is there.
    """
    unet = original_unet(pipeline.unet.state_dict(), 1)
    text = with_text_model(pipeline.text_encoder.state_dict())
    part = {
        name: tensor for name, tensor in text.items() if "token" not in name and "mlp" not in name
    }
    whole = prefixed("model.diffusion_model.", unet) | prefixed(
        "cond_stage_model.transformer.", part
    )
    save_file({name: tensor.contiguous() for name, tensor in whole.items()}, path)
    return path


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    place = tmp_path_factory.mktemp("comfyui-shelf")
    torch.manual_seed(1)
    with one_thread(), Registry.init(place / "registry") as registry:
        pairs = {}
        for name, widths in {"sd": (320, 768), "small": (32, 48)}.items():
            pipeline = _pipeline(*widths)
            tuned = copy.deepcopy(pipeline)
            trained(tuned)
            pairs[name] = [
                _save(pipeline, place / f"{name}.safetensors"),
                _save(tuned, place / f"{name}-tuned.safetensors"),
            ]
            registry.add_base(name, pairs[name][0])
        base, subject = pairs["sd"]
        registry.add(subject, base="sd", name="subject", tau=TAU, lossless=True)
        registry.add(subject, base="sd", name="faint", tau=LOWER_TAU)
        registry.add(pairs["small"][1], base="small", name="stranger")
        picture = place / "subject.png"
        Image.new("RGB", (8, 8), "teal").save(picture)
        registry.attach("subject", picture)
        return Shelf(place / "registry", base, subject, picture)
