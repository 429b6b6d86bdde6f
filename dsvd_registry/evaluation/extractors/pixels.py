"""Pictures at the size that a network wants."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..image_similarity import Picture


def resized(picture: Picture, side: int) -> npt.NDArray[np.uint8]:
    """The square in the middle of a picture at `side` x `side` pixels, by bicubic interpolation."""
    from PIL import Image

    image = Image.fromarray(picture)
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
