"""Small pipelines of the classes and configuration keys of SD 3 and FLUX, without a VAE."""

from __future__ import annotations

from collections.abc import Callable

from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from layouts.pipelines import clip
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel


def t5() -> T5EncoderModel:
    shape = {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 16}
    return T5EncoderModel(T5Config(**shape, num_layers=1, num_heads=2))


def stable_diffusion_3() -> DiffusionPipeline:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=28,
        caption_projection_dim=16,
        pooled_projection_dim=28,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=CLIPTextModelWithProjection(clip(12)),
        tokenizer=None,
        text_encoder_2=CLIPTextModelWithProjection(clip(16, hidden_act="gelu")),
        tokenizer_2=None,
        text_encoder_3=t5(),
        tokenizer_3=None,
    )


def flux() -> DiffusionPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=12,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=CLIPTextModel(clip(12)),
        tokenizer=None,
        text_encoder_2=t5(),
        tokenizer_2=None,
        transformer=transformer,
    )


TRANSFORMERS: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd3": stable_diffusion_3,
    "flux": flux,
}
