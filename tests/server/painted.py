"""Landscapes that numpy paints, for versions that need a picture: of nobody's making but ours."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 480, 360
Color = tuple[int, int, int]

# The sky above, the sky at the horizon, the sun, the farthest hills, the nearest hills.
PALETTES: dict[str, tuple[Color, Color, Color, Color, Color]] = {
    "meadow": ((98, 160, 205), (240, 226, 190), (255, 250, 225), (150, 180, 140), (36, 84, 52)),
    "dusk": ((48, 36, 92), (246, 148, 96), (255, 220, 160), (150, 82, 110), (34, 22, 52)),
    "charcoal": ((205, 204, 200), (240, 239, 235), (252, 252, 250), (160, 159, 156), (38, 38, 40)),
    "paper": ((242, 214, 170), (250, 238, 214), (214, 84, 52), (226, 160, 106), (122, 50, 40)),
    "sea": ((20, 60, 92), (150, 214, 214), (255, 246, 214), (60, 140, 156), (8, 42, 64)),
}


def painted(palette: str, seed: int, format: str = "WEBP") -> bytes:
    """Hills behind hills under a sun, as a picture file."""
    chosen = np.random.default_rng(seed)
    above, horizon, sun, far, near = (np.array(color, float) for color in PALETTES[palette])
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / np.array([HEIGHT, WIDTH]).reshape(2, 1, 1)
    picture = _mix(above, horizon, np.clip(y / 0.7, 0, 1))
    across, up = chosen.uniform(0.2, 0.8), chosen.uniform(0.2, 0.42)
    distance = np.hypot((x - across) * WIDTH / HEIGHT, y - up)
    picture = _over(picture, sun, 0.5 * np.exp(-((distance / 0.22) ** 2)))
    picture = _over(picture, sun, np.clip((0.085 - distance) * HEIGHT, 0, 1))
    for depth in np.linspace(0, 1, 6):
        top = 0.46 + 0.4 * depth
        for waves in (1.3, 3.1, 6.7):
            swing = 0.11 / waves * chosen.uniform(0.5, 1.3)
            top = top + swing * np.sin(2 * np.pi * (waves * x + chosen.random()))
        hill = far + (near - far) * depth
        lit = np.clip(1.08 - 0.5 * (y - top), 0.7, 1.1)[..., None]
        picture = _over(picture, hill * lit, np.clip((y - top) * HEIGHT, 0, 1))
    picture += chosen.normal(0, 2.5, (HEIGHT, WIDTH, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, format, quality=80)
    return buffer.getvalue()


Picture = npt.NDArray[np.float64]


def _mix(first: Picture, second: Picture, share: Picture) -> Picture:
    return first + (second - first) * share[..., None]


def _over(below: Picture, color: Picture, share: Picture) -> Picture:
    return below + (color - below) * share[..., None]
