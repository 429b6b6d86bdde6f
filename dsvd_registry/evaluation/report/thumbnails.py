"""Small pictures that stand in the page itself: painted ones, and how they differ."""

from __future__ import annotations

import base64
import io

import numpy as np

from ..image_similarity import Picture

MOST_SIDE = 192
STRENGTH = 4
"""The factor by which a difference is shown stronger than it is."""


def inlined(picture: Picture) -> str:
    """The picture as a data URI: as it is up to 192 pixels, else made smaller."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    is_small = max(picture.shape[:2]) <= 64
    image.save(buffer, "WEBP", lossless=is_small, quality=88)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def difference(picture: Picture, other: Picture) -> Picture:
    """The difference of two pictures, four times as strong, black where they are the same."""
    apart = np.abs(picture.astype(np.int16) - other)
    return np.asarray(np.minimum(STRENGTH * apart, 255), dtype=np.uint8)
