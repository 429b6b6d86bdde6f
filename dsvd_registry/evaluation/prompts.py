"""Prompts with a place for the subject: DreamBooth's lists, a file's, or a few of our own.

The lists are those of the DreamBooth data set (Ruiz et al., CVPR 2023; CC BY 4.0), a repeated prompt
left out; `{}` stands for the words of the subject.
"""

from __future__ import annotations

from pathlib import Path

from .. import fs
from ..errors import InvalidArgument

PLACE = "{}"
MOST_BYTES = 1 << 20

DEFAULT = ("a photo of {}", "a photo of {} on the beach", "a photo of {} in the snow")

_BOTH = (
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
)
_OBJECTS = (
    "a {} with a wheat field in the background",
    "a {} with a tree and autumn leaves in the background",
    "a {} with the Eiffel Tower in the background",
    "a {} floating on top of water",
    "a {} floating in an ocean of milk",
    "a {} on top of green grass with sunflowers around it",
    "a {} on top of a mirror",
    "a {} on top of the sidewalk in a crowded street",
    "a {} on top of a dirt road",
    "a {} on top of a white rug",
)
_ANIMALS = (
    "a {} wearing a red hat",
    "a {} wearing a santa hat",
    "a {} wearing a rainbow scarf",
    "a {} wearing a black top hat and a monocle",
    "a {} in a chef outfit",
    "a {} in a firefighter outfit",
    "a {} in a police outfit",
    "a {} wearing pink glasses",
    "a {} wearing a yellow shirt",
    "a {} in a purple wizard outfit",
)
_PROPERTIES = ("a red {}", "a purple {}", "a shiny {}", "a wet {}", "a cube shaped {}")

LIVE = ("cat", "dog")
"""The nouns for which DreamBooth has prompts of its own."""


def templates(prompts: str | None, noun: str) -> tuple[str, ...]:
    """The prompts for a subject of this kind.

    `prompts`: "dreambooth", the path of a file with one prompt in each line, or None for our own.
    Raises `InvalidArgument` for a file that is none, `StorageError`.
    """
    if prompts is None:
        return DEFAULT
    if prompts == "dreambooth":
        return _BOTH + (_ANIMALS if noun in LIVE else _OBJECTS) + _PROPERTIES
    return _of_file(Path(prompts))


def filled(template: str, words: str) -> str:
    """The prompt with the words in the place of the subject."""
    return template.replace(PLACE, words)


def _of_file(path: Path) -> tuple[str, ...]:
    with fs.storage_errors(path), path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if len(data) > MOST_BYTES:
        text = ""
    lines = (line.strip() for line in text.splitlines())
    found = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not found:
        raise InvalidArgument(
            f"{path} has no prompts", "Write one prompt in each line, with {} for the subject."
        )
    for line in found:
        if PLACE not in line:
            raise InvalidArgument(
                f"{path} has the prompt {line!r}, which does not name the subject",
                "Write {} where the words for the subject belong, such as: a photo of {}.",
            )
    return found
