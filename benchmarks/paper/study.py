"""A study: the folder with a base, fine-tunes of it, their photographs, and LoRAs.

DIR/base/                   the base as diffusers saves a pipeline
DIR/subjects/NAME.safetensors   a fine-tune of each subject
DIR/photos/NAME/*.jpg       photographs of each subject
DIR/lora/LABEL/NAME.safetensors   LoRAs of each subject, by what they are called in tables; optional
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsvd_registry.errors import InvalidArgument

from .photographs import CLASSES

BASE, SUBJECTS, PHOTOS, LORA = "base", "subjects", "photos", "lora"


@dataclass(frozen=True)
class Study:
    """A study that is complete. `subjects`: the files by name. `loras`: by label, then by name."""

    folder: Path
    subjects: Mapping[str, Path]
    loras: Mapping[str, Mapping[str, Path]]

    @property
    def base(self) -> Path:
        """The base's pipeline."""
        return self.folder / BASE

    @property
    def photos(self) -> Path:
        """The folder with a folder of photographs of each subject."""
        return self.folder / PHOTOS

    def noun(self, name: str) -> str:
        """The class of a subject."""
        return CLASSES.get(name, "object")


def open_study(folder: Path) -> Study:
    """The study in a folder. Raises `InvalidArgument` for what is missing."""
    if not (folder / BASE / "model_index.json").is_file():
        raise InvalidArgument(
            f"{folder / BASE} is not a pipeline", "Save the base there with diffusers."
        )
    subjects = {file.stem: file for file in sorted((folder / SUBJECTS).glob("*.safetensors"))}
    if not subjects:
        raise InvalidArgument(
            f"{folder / SUBJECTS} has no fine-tune",
            "Put NAME.safetensors there for each subject, or train them with --train.",
        )
    for name in subjects:
        if not (folder / PHOTOS / name).is_dir():
            raise InvalidArgument(
                f"{folder / PHOTOS} has no folder {name}", f"Put photographs of {name} there."
            )
    places = sorted(path for path in (folder / LORA).glob("*") if path.is_dir())
    loras = {
        place.name: {name: place / f"{name}.safetensors" for name in subjects} for place in places
    }
    for files in loras.values():
        for file in files.values():
            if not file.is_file():
                raise InvalidArgument(f"{file} is missing", "Give each subject's LoRA, or none.")
    return Study(folder, subjects, loras)
