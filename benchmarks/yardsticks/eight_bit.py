"""8-bit quantisation of the whole fine-tune: symmetric, one scale for each tensor."""

from __future__ import annotations

import torch

from ..subjects.pair import OpenPair

LARGEST = 127
SCALE_BYTES = 4


def size(pair: OpenPair) -> int:
    """The size in bytes: one byte for each element, and a scale for each tensor."""
    elements = sum(shape.numel() for shape in (torch.Size(s) for _, s in pair.kinds.values()))
    return elements + SCALE_BYTES * len(pair.kinds)


def tensor(pair: OpenPair, name: str) -> torch.Tensor:
    """A tensor of the fine-tune after quantisation, in fp32."""
    weights = pair.tuned(name).to(torch.float32)
    scale = float(weights.abs().max()) / LARGEST
    return weights if scale == 0 else torch.round(weights / scale).clamp_(-LARGEST, LARGEST) * scale
