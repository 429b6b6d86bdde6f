"""LPIPS (Zhang et al. 2018) from the state dict of the `lpips` package, on AlexNet or VGG-16."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ...checkpoint import open_checkpoint
from ...errors import CheckpointError
from ...hashing import sha256_file
from ..features import Features, unit_channels
from ..image_similarity import Picture
from ..source_tensors import tensor_of

Layers = tuple[tuple[int | str, ...], ...]
"""The layers of each slice: the number of a convolution in the state dict, or "pool"."""

ALEXNET: Layers = ((0,), ("pool", 3), ("pool", 6), (8,), (10,))
VGG: Layers = (
    (0, 2),
    ("pool", 5, 7),
    ("pool", 10, 12, 14),
    ("pool", 17, 19, 21),
    ("pool", 24, 26, 28),
)
FIRST = "net.slice1.0.weight"
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """An extractor whose distance is LPIPS: maps after five slices, weighted as people judge."""

    def __init__(self, name: str, file: Path, device: str) -> None:
        self.name, self.weights = name, sha256_file(file)
        self._device = torch.device(device)
        self._tensors = _read(file, self._device)
        is_alexnet = self._tensors[FIRST].shape[-1] == 11
        self._slices = ALEXNET if is_alexnet else VGG
        self._pool = 3 if is_alexnet else 2

    def features(self, picture: Picture) -> Features:
        shift, scale = (np.array(one, np.float32) for one in (_SHIFT, _SCALE))
        pixels = picture.astype(np.float32) / 127.5 - 1
        values = torch.from_numpy((pixels - shift) / scale).permute(2, 0, 1)[None].contiguous()
        found = []
        with torch.no_grad():
            values = values.to(self._device)
            for number, layers in enumerate(self._slices):
                values = self._slice(values, number + 1, layers)
                linear = self._tensors[f"lin{number}.model.1.weight"].reshape(-1, 1, 1)
                weight = linear.double().sqrt().cpu().numpy()
                found.append(unit_channels(values[0].cpu().numpy()) * weight)
        return Features(None, tuple(found))

    def _slice(
        self, values: torch.Tensor, number: int, layers: tuple[int | str, ...]
    ) -> torch.Tensor:
        for layer in layers:
            if layer == "pool":
                values = functional.max_pool2d(values, self._pool, 2)
                continue
            name = f"net.slice{number}.{layer}"
            weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
            kernel = weight.shape[-1]
            is_first_of_alexnet = kernel == 11
            stride, pad = (4, 2) if is_first_of_alexnet else (1, kernel // 2)
            values = functional.relu(functional.conv2d(values, weight, bias, stride, pad))
        return values


def _read(file: Path, device: torch.device) -> Mapping[str, torch.Tensor]:
    with open_checkpoint(file) as checkpoint:
        found = {name: tensor_of(checkpoint, name).to(device) for name in checkpoint.tensors}
    first = found.get(FIRST)
    slices = VGG if first is not None and first.shape[-1] != 11 else ALEXNET
    wanted = [f"lin{number}.model.1.weight" for number in range(len(slices))]
    wanted += [
        f"net.slice{number + 1}.{layer}.{part}"
        for number, layers in enumerate(slices)
        for layer in layers
        if layer != "pool"
        for part in ("weight", "bias")
    ]
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise CheckpointError(
            f"{file} is not a state dict of LPIPS: it lacks {lacking[0]!r}",
            "Save one with: torch.save(lpips.LPIPS(net='alex').state_dict(), FILE)",
        )
    for number in range(len(slices)):
        least = float(found[f"lin{number}.model.1.weight"].min())
        if not least >= 0 or math.isnan(least):
            raise CheckpointError(f"{file} weighs a channel by less than 0")
    return found
