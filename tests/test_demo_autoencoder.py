"""The demo's autoencoder keeps the lowest frequencies of each square, as scipy's transform has them."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dctn, idctn

from demo.autoencoder import SIZES, CosineAutoencoder
from demo.pictures import load_subjects

COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Pixels (3, 8, 8) of which each colour keeps its frequencies of a sum below 6, 3 and 3."""
    spectrum = dctn(np.einsum("kc,cyx->kyx", COLOURS, pixels), axes=(1, 2), norm="ortho")
    down, across = np.indices((8, 8))
    for values, limit in zip(spectrum, (6, 3, 3), strict=True):
        values[down + across >= limit] = 0
    return np.einsum("kc,kyx->cyx", COLOURS, idctn(spectrum, axes=(1, 2), norm="ortho"))


def test_pixels_come_back_without_their_high_frequencies() -> None:
    pixels = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = CosineAutoencoder()
    latents = model.encode(pixels).latents
    assert latents.shape == (2, 33, 2, 3)
    again = model.decode(latents).sample
    for picture, got in zip(pixels.numpy(), again.numpy(), strict=True):
        for top in range(0, 16, 8):
            for left in range(0, 24, 8):
                square = np.s_[:, top : top + 8, left : left + 8]
                assert np.allclose(got[square], low_frequencies(picture[square]), atol=1e-5)
    assert torch.allclose(model.encode(again).latents, latents, atol=1e-4)


def test_the_channels_of_photographs_are_of_size_one() -> None:
    pictures = np.stack([picture for one in load_subjects() for picture in one.photographs])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    sizes = CosineAutoencoder().encode(pixels).latents.std((0, 2, 3))
    assert len(sizes) == sum(n + 1 for some in SIZES for n in range(len(some)))
    assert sizes.min() > 0.6 and sizes.max() < 1.4


def test_photographs_are_near_what_comes_back() -> None:
    pictures = np.stack([picture for one in load_subjects() for picture in one.photographs])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    model = CosineAutoencoder()
    lost = (model.decode(model.encode(pixels).latents).sample - pixels).square().mean()
    assert 10 * np.log10(4 / lost.item()) > 28  # decibels
