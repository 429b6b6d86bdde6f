"""Photographs of subjects: folders of them, or those that are in the repository.

The names and classes are those of the DreamBooth data set (Ruiz et al., CVPR 2023; CC BY 4.0), see
`demo/photographs/ATTRIBUTION.md` for the photographs that are in the repository.
"""

from __future__ import annotations

from pathlib import Path

from demo.pictures import Photographed, load_subjects
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


def subjects_in(folder: Path | None) -> tuple[Photographed, ...]:
    """The subjects whose folders of photographs are in `folder`; None for the repository's own.

    A subject that DreamBooth does not have is of the class "object". Raises `InvalidArgument` for a
    damaged photograph.
    """
    if folder is None:
        return load_subjects()
    return tuple(
        Photographed(place.name, CLASSES.get(place.name, "object"), tuple(photographs_of(place)))
        for place in sorted(folder.iterdir())
        if place.is_dir() and any(file.suffix.lower() in ENDINGS for file in place.iterdir())
    )
