"""The contact sheet: one row of pictures per model, one column per prompt and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from dsvd_registry.evaluation.image_similarity import Picture

from .pictures import CREDIT

Pictures = npt.NDArray[np.uint8]
CELL = 160  # pixels of a picture's side
GAP = 6
LABEL_WIDTH = 150
HEAD = 46
FOOT = 26
INK = (30, 30, 30)
FAINT = (110, 110, 110)


@dataclass(frozen=True)
class Row:
    """The pictures of one model, and up to two lines of text next to them."""

    label: str
    detail: str
    pictures: Sequence[Picture]


def write_sheet(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write the sheet as PNG. `columns` are the captions over the pictures; "|" breaks a line."""
    width = LABEL_WIDTH + len(columns) * (CELL + GAP)
    height = HEAD + len(rows) * (CELL + GAP) + FOOT
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    for number, caption in enumerate(columns):
        left = LABEL_WIDTH + number * (CELL + GAP)
        draw.multiline_text((left, 8), caption.replace("|", "\n"), fill=INK, font=small)
    for line, row in enumerate(rows):
        top = HEAD + line * (CELL + GAP)
        draw.text((GAP, top + CELL // 2 - 20), row.label, fill=INK, font=large)
        draw.text((GAP, top + CELL // 2 + 2), row.detail, fill=FAINT, font=small)
        for number, pixels in enumerate(row.pictures):
            picture = Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (LABEL_WIDTH + number * (CELL + GAP), top))
    draw.text((GAP, height - FOOT + 6), CREDIT, fill=FAINT, font=small)
    sheet.save(path)
