"""Enlarged pairs with smaller alphas, for changes so small that fp16 would lose them.

Below 2^-14 fp16 has fewer and fewer bits, and below 2^-25 none. A loader multiplies a pair by alpha /
rank. With an alpha divided by 4^n both sides of every pair are larger by 2^n, without rounding.
"""

from __future__ import annotations

import math

import torch

from ..errors import InvalidArgument
from .collect import Collected

ROUNDED = 2.0**-10  # of the change: more than fp16 with all its bits loses
LARGEST = 2.0**-3  # in an enlarged pair, as at the start of a training: loaders multiply in fp16
MOST = 60  # beyond it no fine-tune has such a change, and no file such an alpha
LOST = 0.5  # of the change: a file without it is not the version


def enlarging(collected: Collected, dtype: torch.dtype) -> int:
    """The power of 2 by which both sides of every pair should be enlarged; 0 for most versions."""
    losses = [loss for _, _, loss in collected.modules]
    norm, rounded = sum(loss.norm for loss in losses), sum(loss.rounded for loss in losses)
    largest = max((pair.largest for pair in collected.pairs.values()), default=0.0)
    if dtype != torch.float16 or rounded <= ROUNDED**2 * norm or not 0 < largest < LARGEST:
        return 0
    return min(MOST, math.floor(math.log2(LARGEST / largest)))


def check_not_lost(collected: Collected) -> None:
    """Raise `InvalidArgument` if rounding loses most of the change."""
    norm = sum(loss.norm for loss in collected.losses)
    rounded = sum(loss.rounded for loss in collected.losses)
    if rounded > LOST**2 * norm:
        raise InvalidArgument(
            f"the change is too small for fp16, which would lose {math.sqrt(rounded / norm):.0%} of it",
            "Ask for fp32 (--dtype fp32).",
        )
