"""The demo's models as diffusers saves a pipeline: a folder with a configuration for each part."""

from __future__ import annotations

from pathlib import Path

import diffusers
import transformers
from diffusers import DDIMScheduler, StableDiffusionPipeline

from .checkpoints import load_model
from .small_pipeline import Shape


def save_folder(folder: Path, checkpoint: Path, shape: Shape) -> None:
    """Write the model of a safetensors file as a pipeline without a VAE: the demo's has no weights."""
    diffusers.logging.set_verbosity_error()  # it would tell that there is no VAE
    transformers.logging.disable_progress_bar()
    model = load_model(checkpoint, shape)
    StableDiffusionPipeline(
        vae=None,
        text_encoder=model.text_encoder,
        tokenizer=None,
        unet=model.unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
