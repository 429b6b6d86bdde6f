"""The small study: a base trained from nothing, and subjects that it has not seen, three or a fold.

Nine million parameters, 64 pixels. With TAEF2 the base learns latents of 8 x 8 places and a subject is
recognised; without it each place has the low frequencies of a square of 8 x 8 pixels, and pictures are
coarser.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import demo
from demo.autoencoder import CosineAutoencoder
from demo.pictures import Photographed, square
from demo.small_pipeline import Shape, small_pipeline
from demo.training import Plan, Progress, class_photographs, train_base, vocabulary
from dsvd_registry.evaluation.live_pipeline import loaded

from ..subjects.cache import kept
from .photographs import subjects_in
from .study import BASE, PHOTOS
from .taef2 import DECODER, ENCODER, read_taef2
from .train_study import Recipe, train_subject

HELD_OUT = ("dog6", "duck_toy", "grey_sloth_plushie")
CODE = (
    *(
        Path(demo.__file__).with_name(name)
        for name in ("autoencoder.py", "small_pipeline.py", "training.py")
    ),
    *(
        Path(__file__).with_name(name)
        for name in ("taef2.py", "small_study.py", "train_study.py", "lora_training.py")
    ),
)


@dataclass(frozen=True)
class SmallRecipe:
    """The model, how its base is trained, and how its subjects are."""

    shape: Shape
    base: Plan
    subjects: Recipe


SMALL = SmallRecipe(
    Shape(),
    Plan(steps=1500, learning_rate=1.2e-3, falls=True),
    Recipe(
        plan=Plan(steps=700, learning_rate=3e-4, seed=42),
        lora_plan=Plan(steps=700, learning_rate=1e-3, seed=42),
        prior=0,
        side=64,
    ),
)


def small_study(
    cache: Path,
    photos: Path | None,
    autoencoder: Path | None,
    recipe: SmallRecipe,
    progress: Progress,
    names: Sequence[str] = HELD_OUT,
) -> Path:
    """The folder of the small study; what it lacks is trained, a subject at a time.

    Args:
        cache: the folder that keeps it, by what it is made of.
        photos: a folder of photographs by subject; None for those of the repository.
        autoencoder: the folder of TAEF2's two files; None for that of the demo.
        recipe: the model and its trainings.
        progress: called with what is trained, and the steps done and of all.
        names: the subjects that the base does not see.
    """
    subjects = subjects_in(photos)
    rest = [one for one in subjects if one.name not in names]
    folder = cache / f"paper-{_made_of(subjects, autoencoder, recipe, names):08x}"

    def make(made: Path) -> None:
        vae = CosineAutoencoder() if autoencoder is None else read_taef2(autoencoder)
        pipeline = small_pipeline(vocabulary(subjects), vae, recipe.shape)
        train_base(pipeline, rest, recipe.base, recipe.shape.side, progress)
        pipeline.save_pretrained(made / BASE)
        for one in held_out(subjects, names):
            _write_photographs(one, made / PHOTOS / one.name, recipe.shape.side)

    kept(folder, make)
    base = loaded(folder / BASE, "cpu")
    for one in held_out(subjects, names):
        prior = class_photographs(one.noun, rest)
        train_subject(folder, base, one, prior, recipe.subjects, progress)
    return folder


def held_out(subjects: Sequence[Photographed], names: Sequence[str]) -> list[Photographed]:
    """The subjects of these names, with two photographs or more."""
    return [one for one in subjects if one.name in names and len(one.photographs) > 1]


def _made_of(
    subjects: Sequence[Photographed],
    autoencoder: Path | None,
    recipe: SmallRecipe,
    names: Sequence[str],
) -> int:
    """A checksum of all that the weights depend on."""
    parts = [repr(recipe).encode(), repr(tuple(names)).encode()]
    parts += [file.read_bytes() for file in CODE]
    parts += [picture.tobytes() for one in subjects for picture in one.photographs]
    if autoencoder is not None:
        parts += [(autoencoder / name).read_bytes() for name in (ENCODER, DECODER)]
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found


def _write_photographs(one: Photographed, folder: Path, side: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, picture in enumerate(one.photographs):
        Image.fromarray(square(picture, side)).save(folder / f"{number:02}.png")
