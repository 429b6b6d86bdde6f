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


def as_tensorflow_resizes(picture: Picture, side: int) -> npt.NDArray[np.float32]:
    """The whole picture at `side` x `side` pixels, by the bilinear interpolation of TensorFlow 1.

    Pixel i of n is taken at i * n / side, not half a pixel on, and nothing is smoothed before. Returns
    side x side x 3 numbers from 0 to 255, not rounded.
    """
    values = picture.astype(np.float32)
    for axis, shape in ((1, (-1, 1)), (0, (-1, 1, 1))):
        pixels = values.shape[axis]
        places = np.arange(side, dtype=np.float32) * np.float32(pixels / side)
        before = places.astype(np.intp)
        after = np.minimum(before + 1, pixels - 1)
        share = (places - before.astype(np.float32)).reshape(shape)
        low, high = np.take(values, before, axis), np.take(values, after, axis)
        values = low + (high - low) * share
    return values
