"""The pictures that a page shows: models below each other, prompts and seeds side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..measuring import photographs_of
from ..models import FINE_TUNE, Subject
from ..picture_store import PictureStore
from ..results import Evaluation, PictureRow
from .thumbnails import Size, difference, inlined

MOST_SUBJECTS, MOST_CELLS, MOST_PHOTOGRAPHS = 12, 6, 6


@dataclass(frozen=True)
class Shown:
    """A picture and its difference from the fine-tune's, as data URIs; `ssim` as text."""

    picture: str
    difference: str
    ssim: str


@dataclass(frozen=True)
class Sheet:
    """The pictures of one subject. `titles`: of the columns. `rows`: a label and its pictures."""

    ref: str
    photographs: tuple[str, ...]
    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shown, ...]], ...]


def sheets(found: Evaluation, store: PictureStore, size: Size, subjects: int) -> tuple[Sheet, ...]:
    """The sheets of the first `subjects` subjects, with a few prompts and seeds of each."""
    return tuple(_sheet(subject, found, store, size) for subject in found.subjects[:subjects])


def _sheet(subject: Subject, found: Evaluation, store: PictureStore, size: Size) -> Sheet:
    rows = {
        (row.model, row.number, row.seed): row
        for row in found.measured.pictures
        if row.subject == subject.ref
    }
    cells = _chosen(len(subject.prompts), found.request.seeds)
    shown = []
    for model in subject.models:
        ones = [
            _shown(rows[model.label, *cell], rows[FINE_TUNE, *cell], store, size) for cell in cells
        ]
        shown.append((model.label, tuple(ones)))
    known = [] if subject.photographs is None else photographs_of(subject.photographs)
    return Sheet(
        subject.ref,
        tuple(inlined(one, size) for one in known[:MOST_PHOTOGRAPHS]),
        tuple(f"{subject.prompts[number]}, seed {seed}" for number, seed in cells),
        tuple(shown),
    )


def _chosen(prompts: int, seeds: Sequence[int]) -> list[tuple[int, int]]:
    """The prompts and seeds to show: as many prompts as there is room for, then more seeds."""
    every = [(number, seed) for seed in seeds for number in range(prompts)]
    return every[:MOST_CELLS]


def _shown(row: PictureRow, own: PictureRow, store: PictureStore, size: Size) -> Shown:
    picture = store.get(row.picture)
    apart = difference(picture, store.get(own.picture))
    return Shown(inlined(picture, size), inlined(apart, size), f"{row.values['ssim']:.3f}")
