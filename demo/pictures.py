"""The photographs of the demo: their table, their captions, and the words that the captions need.

The photographs are from the DreamBooth data set (CC BY 4.0); see photographs/ATTRIBUTION.md.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

FOLDER = Path(__file__).parent / "photographs"
CREDIT = "Trained on photographs of the DreamBooth data set (Ruiz et al., CVPR 2023), CC BY 4.0"
RARE_WORD = "sks"
PROMPT_LENGTH = 10
END = "<end>"


@dataclass(frozen=True)
class Photograph:
    """One photograph: its subject, its setting, and its pixels (3, 64, 64) between -1 and 1."""

    file: str
    subject: str
    kind: str
    setting: str
    pixels: torch.Tensor

    @property
    def class_prompt(self) -> str:
        """The prompt of the class alone."""
        return f"a photo of a {self.kind}"

    @property
    def captions(self) -> tuple[str, ...]:
        """The captions for pretraining. The second teaches that one word may name an individual."""
        return (
            self.class_prompt,
            f"a photo of {self.subject} {self.kind}",
            f"{self.class_prompt} {self.setting}",
        )

    @property
    def subject_prompt(self) -> str:
        """DreamBooth's prompt for one subject: a rare word before the class."""
        return f"a photo of {RARE_WORD} {self.kind}"


def load_photographs() -> list[Photograph]:
    """Every photograph of the table, in its order."""
    with (FOLDER / "photographs.csv").open(newline="", encoding="utf-8") as table:
        return [
            Photograph(
                file=row["file"],
                subject=row["subject"],
                kind=row["class"],
                setting=row["setting"],
                pixels=_pixels(FOLDER / row["file"]),
            )
            for row in csv.DictReader(table)
        ]


def _pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        values = np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


class Vocabulary:
    """A word-level tokenizer: the words of all captions, and a token that ends and pads a prompt."""

    def __init__(self, photographs: Sequence[Photograph]) -> None:
        words = {RARE_WORD}
        for photograph in photographs:
            words.update(*(caption.split() for caption in photograph.captions))
        self._ids = {word: number for number, word in enumerate([END, *sorted(words)])}

    def __len__(self) -> int:
        return len(self._ids)

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """Word numbers, one row of `PROMPT_LENGTH` per prompt. An unknown word is a `KeyError`."""
        rows = [[self._ids[word] for word in prompt.split()] for prompt in prompts]
        ids = torch.full((len(rows), PROMPT_LENGTH), self._ids[END], dtype=torch.long)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = torch.tensor(row, dtype=torch.long)
        return ids
