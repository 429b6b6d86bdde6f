"""The models of SD 1.5, SD 2.1 and SDXL in their published configurations, without weights.

Names and shapes are those of diffusers and transformers. The original files have a few more tensors,
which neither library has.
"""

from functools import cache

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from .original import State, averages, prefixed
from .pipelines import single_file

CROSS = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
CROSS_UP = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
UNETS = {
    "sd1": {
        "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": CROSS,
        "up_block_types": CROSS_UP,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    "sd2": {
        "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": CROSS,
        "up_block_types": CROSS_UP,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "sdxl": {
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
}
CLIP_L = CLIPTextConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
)
# diffusers leaves out the last of the 24 layers: SD 2 takes the output of the one before it.
OPEN_CLIP_H = CLIPTextConfig(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
)
OPEN_CLIP_G = CLIPTextConfig(
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=20,
    projection_dim=1280,
)


@cache
def diffusers(family: str) -> dict[str, State]:
    with torch.device("meta"):
        models = {"unet": UNet2DConditionModel(**UNETS[family]), "vae": AutoencoderKL(**VAE)}
        models["text_encoder"] = CLIPTextModel(OPEN_CLIP_H if family == "sd2" else CLIP_L)
        if family == "sdxl":
            models["text_encoder_2"] = CLIPTextModelWithProjection(OPEN_CLIP_G)
    return {name: model.state_dict() for name, model in models.items()}


def folder(family: str) -> State:
    found = {}
    for name, state in diffusers(family).items():
        found |= prefixed(f"{name}.", state)
    return found


def extra(family: str) -> State:
    """The tensors of the published file that diffusers' folder lacks."""
    ids = torch.empty((1, 77), dtype=torch.int64, device="meta")
    scale = torch.empty((), device="meta")
    if family == "sd1":
        return {"cond_stage_model.transformer.text_model.embeddings.position_ids": ids}
    if family == "sdxl":
        return {
            "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": ids,
            "conditioner.embedders.1.model.logit_scale": scale,
        }
    block = "cond_stage_model.model.transformer.resblocks."
    layers = single_file(family, diffusers(family))
    last = {name.replace(f"{block}22.", f"{block}23."): t for name, t in layers.items()}
    return {name: tensor for name, tensor in last.items() if name.startswith(f"{block}23.")} | {
        "cond_stage_model.model.text_projection": torch.empty((1024, 1024), device="meta"),
        "cond_stage_model.model.logit_scale": scale,
    }


def original(family: str) -> State:
    return single_file(family, diffusers(family)) | extra(family)


def with_averages(family: str) -> State:
    found = original(family)
    return found | averages(found)
