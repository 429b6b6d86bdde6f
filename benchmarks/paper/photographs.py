"""Photographs of subjects: folders of them, or those that are in the repository.

The names and classes are those of the DreamBooth data set (Ruiz et al., CVPR 2023; CC BY 4.0), see
`demo/photographs/ATTRIBUTION.md` for the photographs that are in the repository.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from demo.pictures import FOLDER
from dsvd_registry.evaluation.image_similarity import Picture
from dsvd_registry.evaluation.measuring import ENDINGS, photographs_of

CLASSES = {
    "backpack": "backpack",
    "backpack_dog": "backpack",
    "bear_plushie": "plushie",
    "berry_bowl": "bowl",
    "can": "can",
    "candle": "candle",
    "cat": "cat",
    "cat2": "cat",
    "clock": "clock",
    "colorful_sneaker": "sneaker",
    "dog": "dog",
    "dog2": "dog",
    "dog3": "dog",
    "dog5": "dog",
    "dog6": "dog",
    "dog7": "dog",
    "dog8": "dog",
    "duck_toy": "toy",
    "fancy_boot": "boot",
    "grey_sloth_plushie": "plushie",
    "monster_toy": "toy",
    "pink_sunglasses": "glasses",
    "poop_emoji": "toy",
    "rc_car": "toy",
    "red_cartoon": "cartoon",
    "robot_toy": "toy",
    "shiny_sneaker": "sneaker",
    "teapot": "teapot",
    "vase": "vase",
    "wolf_plushie": "plushie",
}
"""The class of each subject; "stuffed animal" is "plushie" here."""


@dataclass(frozen=True)
class Photographed:
    """One subject, its class, and its photographs."""

    name: str
    noun: str
    photographs: tuple[Picture, ...]


def subjects_in(folder: Path | None) -> tuple[Photographed, ...]:
    """The subjects whose folders of photographs are in `folder`; None for the repository's own.

    A subject that DreamBooth does not have is of the class "object". Raises `InvalidArgument` for a
    damaged photograph.
    """
    found: Mapping[str, list[Picture]] = _in_repository() if folder is None else _in(folder)
    return tuple(
        Photographed(name, CLASSES.get(name, "object"), tuple(pictures))
        for name, pictures in sorted(found.items())
    )


def square(picture: Picture, side: int) -> Picture:
    """The middle of a photograph at a side of `side` pixels."""
    image = Image.fromarray(picture)
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    cut = image.crop((left, top, left + short, top + short))
    return np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS))


def _in(folder: Path) -> dict[str, list[Picture]]:
    return {
        place.name: photographs_of(place)
        for place in folder.iterdir()
        if place.is_dir() and any(file.suffix.lower() in ENDINGS for file in place.iterdir())
    }


def _in_repository() -> dict[str, list[Picture]]:
    found = defaultdict(list)
    for file in sorted(FOLDER.glob("*.jpg")):
        with Image.open(file) as image:
            found[file.stem.rpartition("-")[0]].append(np.asarray(image.convert("RGB")))
    return found
