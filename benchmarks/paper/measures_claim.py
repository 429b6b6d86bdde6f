"""Measures: SSIM of pictures that are not aligned, and FID of a few dozen, on photographs alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from demo.pictures import Photographed, square
from dsvd_registry.evaluation.extractors.efficientnet_lite import (
    SIZES,
    EfficientNetLite,
    installed_weights,
)
from dsvd_registry.evaluation.features import Vector
from dsvd_registry.evaluation.image_similarity import Picture, ssim
from dsvd_registry.evaluation.set_distances import fid, kid

from .text_table import table

SIDE = 256
MOST = 4  # photographs of each subject that are compared with each other
SPLITS = 30


def ssim_claim(subjects: Sequence[Photographed]) -> str:
    """SSIM between real photographs of one subject, and of a flat grey picture, as Markdown."""
    real, grey, several = [], [], [one for one in subjects if len(one.photographs) > 1]
    for one in several:
        photographs = [square(picture, SIDE) for picture in one.photographs[:MOST]]
        pairs = list(itertools.permutations(photographs, 2))
        real.append(np.mean([ssim(left, right) for left, right in pairs]))
        grey.append(np.mean([ssim(_flat(left), right) for left, right in pairs]))
    return (
        f"SSIM at {SIDE} pixels against another photograph of the same subject, mean over "
        f"{len(several)} subjects:\n\n"
        + table(
            ["picture", "SSIM"],
            [
                ["a real photograph of the subject", f"{np.mean(real):.3f}"],
                ["a flat picture of that photograph's mean colour", f"{np.mean(grey):.3f}"],
            ],
        )
    )


def fid_claim(subjects: Sequence[Photographed]) -> str:
    """FID and KID between two halves of the same photographs, by their number, as Markdown."""
    file = installed_weights(SIZES[0])
    if file is None:
        return f"FID needs the package {SIZES[0].package}, which is not installed.\n"
    extractor = EfficientNetLite(SIZES[0], file, "cpu")
    found = (extractor.features(p).vector for one in subjects for p in one.photographs)
    vectors = np.stack([vector for vector in found if vector is not None])
    half = len(vectors) // 2
    counts = [count for count in (5, 10, 20, 40) if count < half] + [half]
    return (
        f"Two disjoint halves of the same {len(vectors)} photographs, by {extractor.name}, mean over "
        f"{SPLITS} splits; nothing tells the halves apart:\n\n"
        + table(["photographs in each", "FID", "KID x 1000"], [_row(vectors, n) for n in counts])
    )


def _row(vectors: Vector, count: int) -> list[str]:
    draw = np.random.default_rng(0)
    fids, kids = [], []
    for _ in range(SPLITS):
        order = draw.permutation(len(vectors))
        left, right = vectors[order[:count]], vectors[order[count : 2 * count]]
        fids.append(fid(left, right))
        kids.append(kid(left, right))
    spread = f"{1000 * np.mean(kids):.2f} ± {1000 * np.std(kids):.2f}"
    return [f"{count}", f"{np.mean(fids):.1f} ± {np.std(fids):.1f}", spread]


def _flat(picture: Picture) -> Picture:
    mean = picture.reshape(-1, 3).mean(axis=0)
    return np.broadcast_to(mean.round().astype(np.uint8), picture.shape).copy()
