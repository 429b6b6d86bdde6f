"""The shapes of U-Nets, from diffusers' own class, instantiated without memory or weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class UNet:
    """A published configuration. `parameters`: their number, which is checked."""

    title: str
    config: dict[str, object] = field(hash=False)
    parameters: int | None = None

    def shapes(self) -> Shapes:
        """Every tensor's shape, in the order of the state dict."""
        from diffusers import UNet2DConditionModel  # seconds to import, and rarely needed

        with torch.device("meta"):
            model = UNet2DConditionModel(**self.config)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = sum(math.prod(shape) for shape in shapes.values())
        if self.parameters not in (None, found):
            raise AssertionError(f"{self.title} has {found} parameters, not {self.parameters}")
        return shapes

    def part(self, prefix: str) -> Shapes:
        """The shapes of the tensors whose names begin with `prefix`."""
        return {name: s for name, s in self.shapes().items() if name.startswith(prefix)}


SD15 = UNet(
    "SD 1.5 U-Net",
    {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
    },
    859_520_964,
)

# The configuration of stabilityai/stable-diffusion-xl-base-1.0.
SDXL = UNet(
    "SDXL U-Net",
    {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
    },
    2_567_463_684,
)

# A small SD 1.5, to try the harness.
TINY = UNet(
    "tiny U-Net",
    {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
    },
)
