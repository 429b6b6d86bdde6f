"""TAEF2, an autoencoder that a pipeline of diffusers can load.

TAEF2 (Ollin Boer Bohan, `madebyollin/taesd`, MIT licence) is read from its state dicts, which are not
in this repository; its network is built from their names and shapes.
"""

# ruff: noqa: ARG002 - arguments have the names that diffusers gives them, used or not

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from demo.autoencoder import HALVINGS, Decoded, Latents, decoded

ENCODER, DECODER = "taef2_encoder.pth", "taef2_decoder.pth"
CLAMP = 3  # of latents before they are decoded, softly
GROUPS = 4


class TinyAutoencoder(ModelMixin, ConfigMixin):
    """TAEF2: latents of 32 channels at an eighth of the side."""

    @register_to_config
    def __init__(
        self,
        encoder_layers: str,
        decoder_layers: str,
        latent_channels: int = 32,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = HALVINGS,
    ) -> None:
        super().__init__()
        self.encoding, self.decoding = _network(encoder_layers), _network(decoder_layers)

    def encode(self, pixels: torch.Tensor) -> Latents:
        """The latents of pixels (n, 3, h, w) between -1 and 1."""
        return Latents(self.encoding((pixels + 1) / 2))

    def decode(
        self,
        latents: torch.Tensor,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> Decoded | tuple[torch.Tensor]:
        """The pixels of latents (n, 32, h / 8, w / 8)."""
        clamped = torch.tanh(latents / CLAMP) * CLAMP
        return decoded(self.decoding(clamped) * 2 - 1, return_dict)


def read_taef2(folder: Path) -> TinyAutoencoder:
    """The autoencoder of the two state dicts in a folder; nothing in them is executed."""
    states = [
        {
            name: value.float()
            for name, value in torch.load(folder / file, weights_only=True).items()
        }
        for file in (ENCODER, DECODER)
    ]
    model = TinyAutoencoder(*map(_description, states))
    model.encoding.load_state_dict(states[0])
    model.decoding.load_state_dict(states[1])
    return model.eval()


class Block(nn.Module):
    """Three convolutions and what they are added to; some also see the mean over groups."""

    def __init__(self, width: int, *, has_pool: bool) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        first, second, third = convolutions
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        self.pool = None
        if has_pool:
            wide = GROUPS * width
            self.pool = nn.Sequential(
                nn.Conv2d(width, wide, 1, bias=False),
                nn.GroupNorm(GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, width, 1, bias=False),
            )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.pool is not None:
            values = values + self.pool(values)
        return torch.relu(self.conv(values) + values)


def _description(state: Mapping[str, torch.Tensor]) -> str:
    """The layers of a state dict as text: "1:c32-64 3:p64 7:s64-64 8:b64", with gaps kept."""
    found = {}
    for name, value in state.items():
        place, _, rest = name.partition(".")
        if rest == "weight":
            found[int(place)] = ("c" if f"{place}.bias" in state else "n") + (
                f"{value.shape[1]}-{value.shape[0]}"
            )
        elif rest == "conv.0.weight":
            found[int(place)] = ("p" if f"{place}.pool.0.weight" in state else "b") + (
                f"{value.shape[0]}"
            )
    return " ".join(f"{place}:{found[place]}" for place in sorted(found))


def _network(description: str) -> nn.Sequential:
    """The network of a description.

    In the encoder a convolution without a bias halves the side. In the decoder one follows each layer
    that doubles it, which has no weights and so leaves a gap; the gap after the first is an activation.
    """
    entries = [re.fullmatch(r"(\d+):([a-z])(\d+)(?:-(\d+))?", one) for one in description.split()]
    places = {int(one[1]): one for one in entries if one}
    is_decoder = 0 not in places
    layers: list[nn.Module] = []
    for place in range(max(places) + 1):
        entry = places.get(place)
        if entry is None:
            layers.append(_gap(place))
        elif entry[2] in "pb":
            layers.append(Block(int(entry[3]), has_pool=entry[2] == "p"))
        else:
            has_bias = entry[2] == "c"
            stride = 1 if has_bias or is_decoder else 2
            layers.append(
                nn.Conv2d(int(entry[3]), int(entry[4]), 3, stride, padding=1, bias=has_bias)
            )
    return nn.Sequential(*layers)


def _gap(place: int) -> nn.Module:
    if place == 0:
        return nn.Identity()
    return nn.ReLU() if place == 2 else nn.Upsample(scale_factor=2)
