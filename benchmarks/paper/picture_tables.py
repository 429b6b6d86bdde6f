"""Table 1 twice: in the paper's columns, and in those that can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from demo.pictures import square
from dsvd_registry.evaluation.columns import Column
from dsvd_registry.evaluation.image_similarity import Picture, ssim
from dsvd_registry.evaluation.measuring import photographs_of
from dsvd_registry.evaluation.models import Subject
from dsvd_registry.evaluation.report.tables import estimate_text, size_text
from dsvd_registry.evaluation.results import Evaluation, ModelRow

from .text_table import table

Sizes = Mapping[float, float]
Read = Callable[[str], Picture]
"""Gives a picture by its key."""


def papers_columns(found: Evaluation, read: Read, sizes: Sizes) -> str:
    """Size, similarity, SSIM of unaligned pictures and FID as the paper has them, as Markdown.

    The spread is the standard deviation over pictures, which is no confidence interval.
    """
    column = _similarity(found)
    if column is None:
        return "There is no extractor, and so no similarity to photographs.\n"
    unaligned = _unaligned(found, read)
    rows = []
    for row in found.models:
        values = [
            one.values[column.key] for one in found.measured.pictures if one.model == row.label
        ]
        mean = row.cells[f"fid {column.extractor}"].estimate
        size = f"{sizes[row.tau] / 1e6:,.3f} MB" if row.tau in sizes else size_text(row)
        rows.append(
            [
                row.label,
                size,
                f"{np.mean(values):.3f} ± {np.std(values):.3f}",
                f"{unaligned[row.label]:.3f}",
                "-" if mean is None else f"{mean.mean:.1f}",
            ]
        )
    titles = ["model", "factors in fp16", f"similarity, {column.extractor}"]
    return table([*titles, "SSIM to photographs", "FID"], rows)


def honest_columns(found: Evaluation) -> str:
    """The bytes that are stored, and paired measures and shares with their intervals, as Markdown."""
    distances = [c for c in found.columns if c.title == "distance" and not c.reason]
    column = _similarity(found)
    rows = []
    for row in found.models:
        cells = [size_text(row), _paired(row, "ssim")] + [
            _paired(row, one.key) for one in distances[:1]
        ]
        if column is not None:
            share = row.cells[column.key].share
            cells.append("-" if share is None else estimate_text(share, 3))
            kid = row.cells[f"kid {column.extractor}"].estimate
            cells.append("-" if kid is None else f"{1000 * kid.mean:.1f}")
        rows.append([row.label, *cells])
    titles = ["model", "bytes", "paired SSIM"]
    titles += [f"distance, {one.extractor}" for one in distances[:1]]
    if column is not None:
        titles += [f"share kept, {column.extractor}", "KID x 1000"]
    return table(titles, rows)


def _similarity(found: Evaluation) -> Column | None:
    """The column of similarity to photographs: CLIP's if there is one, else the first."""
    ones = [c for c in found.columns if c.kind == "reference" and not c.reason]
    return next((c for c in ones if c.extractor == "clip"), ones[0] if ones else None)


def _paired(row: ModelRow, key: str) -> str:
    one = row.cells[key].estimate
    return "-" if one is None else estimate_text(one, 3)


def _unaligned(found: Evaluation, read: Read) -> dict[str, float]:
    """The mean SSIM of each model's pictures against every photograph of the subject."""
    values: dict[str, list[float]] = {row.label: [] for row in found.models}
    for subject in found.subjects:
        photographs: dict[int, list[np.ndarray]] = {}
        for one in found.measured.pictures:
            if one.subject != subject.ref:
                continue
            picture = read(one.picture)
            side = min(picture.shape[:2])
            if side not in photographs:
                photographs[side] = _squares(subject, side)
            similar = [ssim(square(picture, side), other) for other in photographs[side]]
            values[one.model].append(float(np.mean(similar)))
    return {label: float(np.mean(ones)) for label, ones in values.items()}


def _squares(subject: Subject, side: int) -> list[np.ndarray]:
    assert subject.photographs is not None
    return [square(one, side) for one in photographs_of(subject.photographs)]
