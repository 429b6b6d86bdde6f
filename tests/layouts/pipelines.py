"""Small diffusers pipelines of each family's classes and configuration, and their tensors.

They have three levels, the first, the last and one between: what the tests cost goes with the number
of tensors. Every number is random, also in norms and biases, which are ones and zeros in a new model.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .original import State, original_open_clip, original_unet, original_vae, prefixed

LAYERS = 2


def unet(**config: object) -> UNet2DConditionModel:
    shape = {"sample_size": 8, "in_channels": 4, "out_channels": 4, "norm_num_groups": 4}
    return UNet2DConditionModel(**shape, layers_per_block=LAYERS, **config)


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=[4, 8, 8],
        latent_channels=4,
        norm_num_groups=4,
    )


def clip(width: int, **config: object) -> CLIPTextConfig:
    # bos and eos inside the small vocabulary: transformers warns otherwise.
    return CLIPTextConfig(
        vocab_size=40,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=11,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        **config,
    )


def stable_diffusion_1() -> DiffusionPipeline:
    model = unet(
        block_out_channels=[8, 16, 16],
        down_block_types=["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 2,
        cross_attention_dim=12,
        attention_head_dim=2,
    )
    return _stable_diffusion(model, CLIPTextModel(clip(12)))


def stable_diffusion_2() -> DiffusionPipeline:
    model = unet(
        block_out_channels=[8, 16, 16],
        down_block_types=["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 2,
        cross_attention_dim=16,
        attention_head_dim=[1, 2, 2],
        use_linear_projection=True,
        upcast_attention=True,
    )
    return _stable_diffusion(model, CLIPTextModel(clip(16, hidden_act="gelu")))


def _stable_diffusion(model: UNet2DConditionModel, text: CLIPTextModel) -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text,
        tokenizer=None,
        unet=model,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> DiffusionPipeline:
    model = unet(
        block_out_channels=[8, 16, 16],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        transformer_layers_per_block=[1, 1, 2],
        cross_attention_dim=28,
        attention_head_dim=[1, 2, 2],
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
        block_out_channels=[8, 16, 16],
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
    "sd1": stable_diffusion_1,
    "sd2": stable_diffusion_2,
    "sdxl": stable_diffusion_xl,
    "sdxl-refiner": stable_diffusion_xl_refiner,
}


def randomised(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    generator = torch.Generator().manual_seed(5)
    for model in models(pipeline).values():
        for parameter in model.parameters():
            parameter.data.normal_(generator=generator)
    return pipeline


def models(pipeline: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    found = pipeline.components.items()
    return {name: model for name, model in found if isinstance(model, torch.nn.Module)}


def folder(path: Path) -> State:
    """The tensors of a diffusers folder: the sub-folder's name, then the name in the file."""
    found = {}
    for file in sorted(path.glob("*/*.safetensors")):
        found |= prefixed(f"{file.parent.name}.", load_file(file))
    return found


def single_file(family: str, states: dict[str, State], layers_per_block: int = LAYERS) -> State:
    """The sub-models `states` in the family's original layout."""
    found = prefixed(
        "model.diffusion_model.", original_unet(states["unet"], layers_per_block)
    ) | prefixed("first_stage_model.", original_vae(states["vae"]))
    if family == "sd1":
        return found | prefixed(
            "cond_stage_model.transformer.", with_text_model(states["text_encoder"])
        )
    if family == "sd2":
        return found | prefixed(
            "cond_stage_model.model.", original_open_clip(states["text_encoder"])
        )
    second = original_open_clip(states["text_encoder_2"])
    if family == "sdxl-refiner":
        return found | prefixed("conditioner.embedders.0.model.", second)
    first = prefixed(
        "conditioner.embedders.0.transformer.", with_text_model(states["text_encoder"])
    )
    return found | first | prefixed("conditioner.embedders.1.model.", second)


def with_text_model(state: State) -> State:
    """The names of a CLIP in all but the newest transformers."""
    return {"text_model." + name.removeprefix("text_model."): t for name, t in state.items()}
