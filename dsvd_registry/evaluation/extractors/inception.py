"""Inception v3 as FID and KID have it (Heusel et al. 2017), from the state dict of pytorch-fid.

The features are those of torch-fidelity and torchmetrics, which resize as TensorFlow 1 did; pytorch-fid
itself resizes in another way, and has other values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from ...checkpoint import open_checkpoint
from ...errors import CheckpointError
from ...hashing import sha256_file
from ..features import Features, Vector
from ..image_similarity import Picture
from ..source_tensors import tensor_of
from .inception_layers import BLOCKS, NORMALISATION, Branch, Conv, Pool, shapes
from .pixels import as_tensorflow_resizes

SIDE = 299
EPSILON = 1e-3


class Inception:
    """An extractor of 2,048 numbers: the means over places of the last block.

    `file`: the state dict as torch saves it, or as safetensors. Raises `CheckpointError` for a file that
    is damaged, holds a program, or is another network, `StorageError`.

    Example:
        Inception("inception", Path("pt_inception-2015-12-05-6726825d.pth"), "cpu")
    """

    def __init__(self, name: str, file: Path, device: str) -> None:
        self.name, self.weights = name, sha256_file(file)
        self._device = torch.device(device)
        self._tensors = _read(file, self._device)

    def features(self, picture: Picture) -> Features:
        values = torch.from_numpy((as_tensorflow_resizes(picture, SIDE) - 128) / 128)
        values = values.permute(2, 0, 1)[None].to(self._device).contiguous()
        with torch.no_grad():
            for name, branches in BLOCKS:
                values = self._block(values, name, branches)
            vector: Vector = values.mean((2, 3))[0].double().cpu().numpy()
        return Features(vector)

    def _block(self, values: torch.Tensor, name: str, branches: tuple[Branch, ...]) -> torch.Tensor:
        known: dict[Branch, torch.Tensor] = {(): values}  # branches may begin with the same steps
        for branch in branches:
            for length, step in enumerate(branch):
                begin, end = branch[:length], branch[: length + 1]
                if end not in known:
                    known[end] = self._step(known[begin], name, step)
        return torch.cat([known[branch] for branch in branches], 1)

    def _step(self, values: torch.Tensor, prefix: str, step: Conv | Pool) -> torch.Tensor:
        if step == "halve":
            return functional.max_pool2d(values, 3, 2)
        if step == "largest":
            return functional.max_pool2d(values, 3, 1, 1)
        if step == "average":
            return functional.avg_pool2d(values, 3, 1, 1, count_include_pad=False)
        name = prefix + step.name
        weight = self._tensors[f"{name}.conv.weight"]
        inner = functional.conv2d(values, weight, None, step.stride, step.padding)
        mean, variance, scale, bias = (self._tensors[f"{name}.bn.{part}"] for part in NORMALISATION)
        inner = functional.batch_norm(inner, mean, variance, scale, bias, eps=EPSILON)
        return functional.relu(inner)


HINT = "Give pt_inception-2015-12-05-6726825d.pth, from the releases of pytorch-fid."


def _read(file: Path, device: torch.device) -> Mapping[str, torch.Tensor]:
    """The tensors that the features need; nothing in the file is executed. Raises `CheckpointError`."""
    with open_checkpoint(file) as checkpoint:
        for name, shape in shapes().items():
            info = checkpoint.tensors.get(name)
            if info is None:
                raise CheckpointError(f"{file} is not FID's Inception v3: it lacks {name!r}", HINT)
            if info.shape != shape or info.dtype != "F32":
                said = f"{name!r} is {info.dtype} {list(info.shape)}, not F32 {list(shape)}"
                raise CheckpointError(f"{file} is not FID's Inception v3: {said}", HINT)
        return {
            name: tensor_of(checkpoint, name).to(device)
            for name in shapes()
            if not name.startswith("fc.")
        }
