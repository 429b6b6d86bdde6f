"""The means of each model over all subjects, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .bootstrap import Estimate, Values, mean_of, share_of
from .columns import PSNR, Column
from .image_similarity import psnr
from .models import BASE, FINE_TUNE, Subject
from .results import Cell, Measured, ModelRow

ByModel = Mapping[str, Values]


def summarised(
    subjects: Sequence[Subject], columns: Sequence[Column], measured: Measured, margin: float
) -> tuple[ModelRow, ...]:
    """A row for each model, with a cell for each column."""
    cells = {column.key: _cells(column, subjects, measured, margin) for column in columns}
    rows = []
    for number, model in enumerate(subjects[0].models):
        sizes = [subject.models[number].size for subject in subjects]
        own = {key: by_model[model.label] for key, by_model in cells.items()}
        rows.append(ModelRow(model.label, float(np.mean(sizes)), model.tau, own))
    return tuple(rows)


def _cells(
    column: Column, subjects: Sequence[Subject], measured: Measured, margin: float
) -> dict[str, Cell]:
    labels = [model.label for model in subjects[0].models]
    if column.reason:
        return {label: Cell(None) for label in labels}
    if column.kind == "set":
        return {label: _set_cell(label, column.key, measured) for label in labels}
    values = _arrays(column.key, labels, subjects, measured)
    if column.key == PSNR:
        return {label: Cell(_psnr_of_mean(values[label])) for label in labels}
    if column.kind != "reference":
        return {label: Cell(mean_of(values[label])) for label in labels}
    return {label: _reference_cell(values, label, margin) for label in labels}


def _arrays(
    key: str, labels: Sequence[str], subjects: Sequence[Subject], measured: Measured
) -> dict[str, Values]:
    """The values of each model by subject, prompt and seed."""
    seeds = list(dict.fromkeys(row.seed for row in measured.pictures))
    shape = (len(subjects), len(subjects[0].prompts), len(seeds))
    found = {label: np.full(shape, np.nan) for label in labels}
    places = {subject.ref: number for number, subject in enumerate(subjects)}
    for row in measured.pictures:
        place = places[row.subject], row.number, seeds.index(row.seed)
        found[row.model][place] = row.values[key]
    return found


def _psnr_of_mean(values: Values) -> Estimate:
    """The PSNR of the mean squared error: a mean of decibels is infinite for one equal picture."""
    errors = mean_of(10 ** (-values / 10))
    if errors.low is None or errors.high is None:
        return Estimate(psnr(errors.mean))
    return Estimate(psnr(errors.mean), psnr(errors.high), psnr(max(errors.low, 0.0)))


def _reference_cell(values: ByModel, label: str, margin: float) -> Cell:
    share = share_of(values[label], values[BASE], values[FINE_TUNE])
    is_no_worse = None if share is None or share.low is None else share.low > 1 - margin
    return Cell(mean_of(values[label]), share, is_no_worse)


def _set_cell(label: str, key: str, measured: Measured) -> Cell:
    """The mean over subjects. A set drawn with replacement repeats pictures: there is no interval."""
    values = [row.values[key] for row in measured.sets if row.model == label]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Cell(None)
    return Cell(Estimate(float(np.mean(known))))
