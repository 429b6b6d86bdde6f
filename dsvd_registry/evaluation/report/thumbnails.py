"""Small pictures that stand in the page itself: painted ones, and how they differ."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from ..image_similarity import Picture

EXACT_SIDE = 64
STRENGTH = 4
"""The factor by which a difference is shown stronger than it is."""


@dataclass(frozen=True)
class Size:
    """The most pixels of a side, and whether pictures of up to 64 pixels lose nothing."""

    side: int
    is_exact: bool = False


LARGEST = Size(192, is_exact=True)
SIZES = (LARGEST, Size(192), Size(96), Size(48))
"""From the largest on: what a page takes so that it is not too large."""


def inlined(picture: Picture, size: Size = LARGEST) -> str:
    """The picture as a data URI: as it is up to the size's pixels, else made smaller."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((size.side, size.side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    is_exact = size.is_exact and max(picture.shape[:2]) <= EXACT_SIDE
    image.save(buffer, "WEBP", lossless=is_exact, quality=88)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def difference(picture: Picture, other: Picture) -> Picture:
    """The difference of two pictures, four times as strong, black where they are the same."""
    apart = np.abs(picture.astype(np.int16) - other)
    return np.asarray(np.minimum(STRENGTH * apart, 255), dtype=np.uint8)
