"""The photographs of the demo, by subject.

They are from the DreamBooth data set (CC BY 4.0); see photographs/ATTRIBUTION.md.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dsvd_registry.evaluation.image_similarity import Picture

FOLDER = Path(__file__).parent / "photographs"
CREDIT = "Trained on photographs of the DreamBooth data set (Ruiz et al., CVPR 2023), CC BY 4.0"


@dataclass(frozen=True)
class Photographed:
    """One subject, its class, and its photographs."""

    name: str
    noun: str
    photographs: tuple[Picture, ...]


def load_subjects() -> tuple[Photographed, ...]:
    """Every subject of the table in its order; photographs of 64 x 64 pixels."""
    found: dict[tuple[str, str], list[Picture]] = {}
    with (FOLDER / "photographs.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            with Image.open(FOLDER / row["file"]) as image:
                pixels = np.asarray(image.convert("RGB"))
            found.setdefault((row["subject"], row["class"]), []).append(pixels)
    return tuple(Photographed(name, noun, tuple(some)) for (name, noun), some in found.items())


def square(picture: Picture, side: int) -> Picture:
    """The middle of a photograph at a side of `side` pixels."""
    image = Image.fromarray(picture)
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    cut = image.crop((left, top, left + short, top + short))
    return np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS))
