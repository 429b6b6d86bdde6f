"""Figures 2 to 4: pictures at each tau, pictures by other ways to store, and measures over bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from dsvd_registry.evaluation.columns import Column
from dsvd_registry.evaluation.models import BASE, FINE_TUNE
from dsvd_registry.evaluation.picture_store import PictureStore
from dsvd_registry.evaluation.results import Evaluation, ModelRow

CELL, LABEL, GAP, FOOT = 128, 230, 4, 24
MOST_SUBJECTS, SEEDS_EACH = 3, 3
INK = (30, 30, 30)
CREDIT = "Subjects of the DreamBooth data set (Ruiz et al., CVPR 2023), CC BY 4.0"


def figure_2(found: Evaluation, store: PictureStore, path: Path) -> None:
    """Write the pictures of the base, the fine-tune and each tau, one row for each, as PNG."""
    taus = [row.label for row in found.models if row.tau is not None]
    _write_sheet(found, store, [BASE, FINE_TUNE, *taus], path)


def figure_3(found: Evaluation, store: PictureStore, path: Path) -> None:
    """Write the pictures of the fine-tune beside LoRAs, 8-bit weights and half precision, as PNG."""
    others = [row.label for row in found.models if row.tau is None and row.label != BASE]
    _write_sheet(found, store, others, path)


def figure_4(found: Evaluation, path: Path) -> None:
    """Write paired SSIM and the share kept over bytes, with their intervals, as SVG."""
    columns = [c for c in found.columns if c.key == "ssim"]
    columns += [c for c in found.columns if c.kind == "reference" and not c.reason][:1]
    # The same evaluation gives the same bytes.
    with rc_context({"svg.hashsalt": "paper", "font.size": 9}):
        figure = Figure(figsize=(4.6 * len(columns), 3.6), layout="constrained")
        for axes, column in zip(
            figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
        ):
            for row in found.models:
                _draw(axes, row, column)
            axes.set_xscale("log")
            axes.set_xlabel("bytes beside the base")
            is_share = column.kind == "reference"
            axes.set_ylabel(f"share kept, {column.extractor}" if is_share else "paired SSIM")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(axes: object, row: ModelRow, column: Column) -> None:
    cell = row.cells[column.key]
    one = cell.share if column.kind == "reference" else cell.estimate
    if one is None or not row.size:
        return
    low = one.mean if one.low is None else one.low
    high = one.mean if one.high is None else one.high
    color = "#0072b2" if row.tau is not None else "#d55e00"
    axes.plot([row.size, row.size], [low, high], color=color, linewidth=1)
    axes.plot([row.size], [one.mean], "o", color=color, markersize=4)
    axes.annotate(row.label, (row.size, one.mean), (3, 4), textcoords="offset points", fontsize=7)


def _write_sheet(found: Evaluation, store: PictureStore, labels: Sequence[str], path: Path) -> None:
    cells = [
        (subject.ref, seed)
        for subject in found.subjects[:MOST_SUBJECTS]
        for seed in found.request.seeds[:SEEDS_EACH]
    ]
    keys = {
        (row.model, row.subject, row.seed): row.picture
        for row in found.measured.pictures
        if row.number == 0
    }
    width = LABEL + len(cells) * (CELL + GAP)
    sheet = Image.new("RGB", (width, len(labels) * (CELL + GAP) + FOOT), "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=11)
    for line, label in enumerate(labels):
        top = line * (CELL + GAP)
        draw.text((GAP, top + CELL // 2 - 10), label, fill=INK, font=font)
        for number, (ref, seed) in enumerate(cells):
            pixels = np.asarray(store.get(keys[label, ref, seed]))
            picture = Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (LABEL + number * (CELL + GAP), top))
    draw.text((GAP, sheet.height - FOOT + 4), CREDIT, fill=INK, font=small)
    sheet.save(path)
