"""The method of community extractors: one rank for all layers, by SVD with `full_matrices=True`.

It computes a square V of the long side, gigabytes for a convolution, and keeps 128 rows of it. All
layers of a large U-Net would take hours, so that a few shapes are timed and the rest extrapolated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

RANK = 128
SAMPLED_SHAPES = 6
LONGEST_SIDE = 5120  # of a sampled layer: V takes 100 MB there, and over 2 GB for the longest
Shape = tuple[int, int]


@dataclass(frozen=True)
class Estimate:
    """An estimate for all layers: `measured` of `shapes` distinct shapes were timed."""

    seconds: float
    measured: int
    shapes: int


def decompose(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decompose into up (m, r) and down (r, n) in fp16, as in a LoRA file."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=True)
    return (u[:, :RANK] * s[:RANK]).half(), vh[:RANK].half()


def estimate(layers: Iterable[Shape], seconds_of: Callable[[Shape], float]) -> Estimate:
    """Estimate the seconds for all layers.

    `seconds_of` times the shapes with the most parameters among those with short enough sides. Each
    other shape gets the cost per parameter of the timed shape with the nearest long side. The
    longest shapes really cost more per parameter, so that the estimate is rather too low.
    """
    counts = Counter(layers)
    affordable = sorted(
        (shape for shape in counts if max(shape) <= LONGEST_SIDE),
        key=lambda shape: counts[shape] * shape[0] * shape[1],
    )
    measured = {shape: seconds_of(shape) for shape in affordable[-SAMPLED_SHAPES:]}
    total = 0.0
    for shape, count in counts.items():
        near = min(measured, key=lambda other: abs(max(other) - max(shape)))
        rate = measured[near] / (near[0] * near[1])
        total += count * measured.get(shape, rate * shape[0] * shape[1])
    return Estimate(total, len(measured), len(counts))
