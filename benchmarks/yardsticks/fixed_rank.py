"""The community extractors' way: one rank for every layer, from an SVD with `full_matrices=True`.

That computes a square V of the long side, gigabytes for a convolution, of which 128 rows are kept.
All layers of a large U-Net would take hours, so a few shapes are timed and the rest extrapolated.
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
    """Seconds for all layers; `measured` of `shapes` distinct shapes were timed."""

    seconds: float
    measured: int
    shapes: int


def decompose(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Up (m, r) and down (r, n) in fp16, as a LoRA file holds them."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=True)
    return (u[:, :RANK] * s[:RANK]).half(), vh[:RANK].half()


def estimate(layers: Iterable[Shape], seconds_of: Callable[[Shape], float]) -> Estimate:
    """Time the shapes that hold the most parameters, of those with sides that are short enough, with
    `seconds_of`; the others cost what a timed one costs per parameter, that with the nearest long
    side. The longest cost more per parameter than any that is timed, so the estimate is too low
    rather than too high.
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
