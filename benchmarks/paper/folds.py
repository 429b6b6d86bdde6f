"""Folds: each subject is held out once, from a base that is trained on those of the other folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from demo.pictures import Photographed
from dsvd_registry.evaluation.image_similarity import Picture
from dsvd_registry.evaluation.results import Evaluation, Floor, Measured
from dsvd_registry.evaluation.summary import summarised

from .report import Drawn


def names_of_folds(subjects: Sequence[Photographed], folds: int) -> list[tuple[str, ...]]:
    """The subjects of each fold: sorted by name, every `folds`-th one is in the same.

    A subject with one photograph is in none: every base learns it.
    """
    names = sorted(one.name for one in subjects if len(one.photographs) > 1)
    return [tuple(names[first::folds]) for first in range(folds)]


def joined(folds: Sequence[Drawn]) -> Drawn:
    """All folds as one: the means are over all subjects, and the bootstrap draws from all of them."""
    of = {row.picture: one.read for one in folds for row in one.found.measured.pictures}

    def read(key: str) -> Picture:
        return of[key](key)

    return Drawn(
        _joined([one.found for one in folds]),
        tuple(curve for one in folds for curve in one.curves),
        read,
    )


def _joined(ones: Sequence[Evaluation]) -> Evaluation:
    first = ones[0]
    subjects = tuple(subject for one in ones for subject in one.subjects)
    measured = Measured(
        tuple(row for one in ones for row in one.measured.pictures),
        tuple(row for one in ones for row in one.measured.sets),
        tuple(_floor(key, ones) for key in (floor.key for floor in first.measured.floors)),
    )
    return replace(
        first,
        request=replace(
            first.request,
            refs=tuple(ref for one in ones for ref in one.request.refs),
            others={},
            full=(),
            loras={},
        ),
        subjects=subjects,
        models=summarised(subjects, first.columns, measured, first.request.margin),
        measured=measured,
    )


def _floor(key: str, ones: Sequence[Evaluation]) -> Floor:
    """The floor of all subjects: the mean of the folds' floors, by their numbers of subjects."""
    found = [
        (floor, len(one.subjects))
        for one in ones
        for floor in one.measured.floors
        if floor.key == key
    ]
    counts = [count for floor, _ in found for count in floor.photographs]
    values = [floor.value for floor, _ in found]
    known = [value for value in values if value is not None]
    mean = None
    if len(known) == len(values):
        mean = float(np.average(known, weights=[subjects for _, subjects in found]))
    return Floor(key, (min(counts), max(counts)), mean)
