"""The autoencoder of the small model: the cosine transform of squares of 8 x 8 pixels, as JPEG has it.

It has no weights. Each square gives its lowest frequencies, of the brightness more than of the two
colours, each divided by its usual size: so a model learns outlines and detail alike.
"""

# ruff: noqa: ARG002 - arguments have the names that diffusers gives them, used or not

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional

SHRINK = 8
HALVINGS = (1, 1, 1, 1)  # a pipeline takes the factor 8 from the length of this list
COLOURS = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
"""Brightness, and two differences of red, green and blue."""
SIZES = ((5.3, 1.4, 0.75, 0.5, 0.37, 0.28), (2.8, 0.53, 0.22), (1.3, 0.28, 0.13))
"""Standard deviations on the demo's photographs (pixels from -1 to 1): of each colour, by the sum of the
numbers of waves across and down. What is not named is left out."""
CHANNELS = sum(n + 1 for sizes in SIZES for n in range(len(sizes)))


@dataclass(frozen=True)
class Latents:
    """The result of encoding, by the name that diffusers gives it."""

    latents: torch.Tensor


@dataclass(frozen=True)
class Decoded:
    """The result of decoding, by the name that diffusers gives it."""

    sample: torch.Tensor


class CosineAutoencoder(ModelMixin, ConfigMixin):
    """Latents of 33 channels at an eighth of the side, without a network."""

    @register_to_config
    def __init__(
        self,
        latent_channels: int = CHANNELS,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = HALVINGS,
    ) -> None:
        super().__init__()
        # A model without weights has neither a dtype nor a device for a pipeline to ask for.
        self.nothing = nn.Parameter(torch.zeros(1), requires_grad=False)

    def encode(self, pixels: torch.Tensor) -> Latents:
        """The latents of pixels (n, 3, h, w) between -1 and 1."""
        waves, sizes = (found.to(pixels) for found in _transform())
        return Latents(functional.conv2d(pixels, waves / sizes, stride=SHRINK))

    def decode(
        self,
        latents: torch.Tensor,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> Decoded | tuple[torch.Tensor]:
        """The pixels of latents (n, 33, h / 8, w / 8)."""
        waves, sizes = (found.to(latents) for found in _transform())
        return decoded(
            functional.conv_transpose2d(latents, waves * sizes, stride=SHRINK), return_dict
        )


def decoded(pixels: torch.Tensor, return_dict: bool) -> Decoded | tuple[torch.Tensor]:
    """Decoded pixels in the form that a pipeline asks for."""
    return Decoded(pixels) if return_dict else (pixels,)


def _transform() -> tuple[torch.Tensor, torch.Tensor]:
    """The orthonormal patterns of the channels (33, 3, 8, 8), and the size of each (33, 1, 1, 1)."""
    waves, sizes = zip(*_channels(), strict=True)
    return torch.stack(waves), torch.tensor(sizes).reshape(-1, 1, 1, 1)


def _channels() -> Iterator[tuple[torch.Tensor, float]]:
    for colour, sizes in zip(COLOURS, SIZES, strict=True):
        weights = torch.tensor(colour) / math.hypot(*colour)
        for total, size in enumerate(sizes):
            for down in range(total + 1):
                pattern = torch.outer(_wave(down), _wave(total - down))
                yield weights[:, None, None] * pattern, size


def _wave(number: int) -> torch.Tensor:
    """A row of the orthonormal cosine transform (DCT-II) of 8 values."""
    places = torch.arange(SHRINK) + 0.5
    wave = torch.cos(torch.pi * number * places / SHRINK)
    return wave / wave.norm()
