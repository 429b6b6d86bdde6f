"""The smallest pipelines that diffusers and its conversions recognise as a family's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from layouts.pipelines import clip
from transformers import CLIPTextModel, CLIPTextModelWithProjection

LAYERS = 1


def unet(**config: Any) -> UNet2DConditionModel:
    shape = {"sample_size": 8, "in_channels": 4, "out_channels": 4, "norm_num_groups": 4}
    widths = [8, 16, 16][: len(config["down_block_types"])]
    return UNet2DConditionModel(
        **shape, layers_per_block=LAYERS, block_out_channels=widths, **config
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=[4], latent_channels=4, norm_num_groups=4)


def stable_diffusion(width: int, **config: object) -> DiffusionPipeline:
    model = unet(
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        cross_attention_dim=width,
        attention_head_dim=2,
        **config,
    )
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(clip(width)),
        tokenizer=None,
        unet=model,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> DiffusionPipeline:
    model = unet(
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        transformer_layers_per_block=[1, 2],
        cross_attention_dim=28,
        attention_head_dim=[1, 2],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 16,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(clip(12)),
        text_encoder_2=CLIPTextModelWithProjection(clip(16, hidden_act="gelu")),
        tokenizer=None,
        tokenizer_2=None,
        unet=model,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        add_watermarker=False,
    )


def stable_diffusion_xl_refiner() -> DiffusionPipeline:
    model = unet(
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        transformer_layers_per_block=2,
        cross_attention_dim=16,
        attention_head_dim=[1, 2, 2],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=5 * 4 + 16,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=None,
        text_encoder_2=CLIPTextModelWithProjection(clip(16, hidden_act="gelu")),
        tokenizer=None,
        tokenizer_2=None,
        unet=model,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        add_watermarker=False,
    )


PIPELINES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd1": lambda: stable_diffusion(12),
    "sd2": lambda: stable_diffusion(16, use_linear_projection=True, upcast_attention=True),
    "sdxl": stable_diffusion_xl,
    "sdxl-refiner": stable_diffusion_xl_refiner,
}
