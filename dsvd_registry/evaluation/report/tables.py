"""The tables of a report as text: one for each kind of measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ... import number_format
from ..bootstrap import LEVEL, Estimate
from ..columns import Column, Kind
from ..results import Cell, Evaluation, ModelRow

HEADINGS: dict[Kind, str] = {
    "paired": "Against the fine-tune's own picture",
    "reference": "Against the photographs",
    "text": "Against the prompt",
    "set": "All pictures against all photographs",
}
LEADS: dict[Kind, str] = {
    "paired": "Each picture is compared with the fine-tune's picture of the same prompt and seed.",
    "reference": (
        "The mean cosine between the features of a picture and of each photograph, and the share of "
        "what the fine-tune gains over the base that is kept."
    ),
    "text": "The cosine between a picture and its prompt without the rare word.",
    "set": (
        "Distances between sets, in the mean over subjects. They have no interval: a set drawn with "
        "replacement repeats pictures, which these measures take for a difference."
    ),
}


@dataclass(frozen=True)
class Table:
    """One table: its columns, and a row of text for each model."""

    kind: Kind
    heading: str
    lead: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Evaluation) -> tuple[Table, ...]:
    """The tables with a column that is not empty, in the order of columns."""
    made = []
    for kind, heading in HEADINGS.items():
        columns = tuple(c for c in found.columns if c.kind == kind and not c.reason)
        if columns:
            rows = tuple(_row(row, columns) for row in found.models)
            made.append(Table(kind, heading, LEADS[kind], columns, rows))
    return tuple(made)


def headline(found: Evaluation) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The summary, as titles and rows: paired measures, and the share of the likeness kept."""
    titles, cells = ["SSIM"], [[_interval(row.cells["ssim"].estimate) for row in found.models]]
    for column in found.columns:
        if column.reason or not column.extractor:
            continue
        ones = [row.cells[column.key] for row in found.models]
        if column.title == "distance":
            titles.append(f"distance, {column.extractor}")
            cells.append([_interval(one.estimate) for one in ones])
        elif column.kind == "reference":
            titles.append(f"kept, {column.extractor}")
            cells.append([_interval(one.share) for one in ones])
    labels = [(row.label, size_text(row)) for row in found.models]
    rows = (label + row for label, row in zip(labels, zip(*cells, strict=True), strict=True))
    return tuple(titles), tuple(rows)


def _interval(one: Estimate | None) -> str:
    return "-" if one is None else estimate_text(one, 3)


def empty_columns(found: Evaluation) -> tuple[str, ...]:
    """The measures that are missing, and why."""
    grouped: dict[str, list[str]] = {}
    for column in found.columns:
        if column.reason:
            grouped.setdefault(f"{column.extractor}: {column.reason}", []).append(column.title)
    return tuple(f"{', '.join(titles)} by {reason}" for reason, titles in grouped.items())


def verdicts(found: Evaluation) -> tuple[str, ...]:
    """A sentence for each model and judge, on the share of the likeness that is kept."""
    return tuple(_verdicts(found))


def remarks(found: Evaluation) -> tuple[str, ...]:
    """The limits of the results: stand-ins, single subjects, few photographs."""
    said = [subject.remark for subject in found.subjects if subject.remark]
    if len(found.subjects) == 1:
        said.append(
            "There is one subject: the intervals are of its prompts and seeds, and say nothing of "
            "other subjects."
        )
    if len(found.request.seeds) == 1:
        said.append("There is one seed: the intervals say nothing of other seeds.")
    for floor in found.measured.floors:
        name = floor.key.removeprefix("fid ")
        few, most = floor.photographs
        count = f"{few}" if few == most else f"{few} to {most}"
        pictures = len(found.request.seeds) * len(found.subjects[0].prompts)
        told = (
            "there are too few photographs to tell below what it says nothing."
            if floor.value is None
            else f"two halves of the same photographs have {floor.value:.2f}. "
            "Below that it says nothing."
        )
        said.append(
            f"FID by {name} compares {pictures} pictures with {count} photographs of each subject; "
            f"{told}"
        )
    return tuple(said)


def cell_text(cell: Cell, column: Column) -> str:
    """A measure with its interval: "0.617 [0.584, 0.650]"; empty for an empty cell."""
    if cell.estimate is None:
        return ""
    text = estimate_text(cell.estimate, 1 if column.title in ("FID", "PSNR, dB") else 3)
    if cell.share is not None:
        text += f"; keeps {estimate_text(cell.share, 2)}"
    return text


def estimate_text(one: Estimate, digits: int) -> str:
    """A mean with its interval, if it has one that is wider than a point."""
    mean = _number(one.mean, digits)
    if one.low is None or one.high is None or one.low == one.high:
        return mean
    return f"{mean} [{_number(one.low, digits)}, {_number(one.high, digits)}]"


def size_text(row: ModelRow) -> str:
    """The bytes of a model in addition to the base; empty for the base itself."""
    return number_format.size(round(row.size)) if row.size else ""


def _row(row: ModelRow, columns: Sequence[Column]) -> tuple[str, ...]:
    return (row.label, size_text(row), *(cell_text(row.cells[c.key], c) for c in columns))


def _number(value: float, digits: int) -> str:
    return "infinite" if math.isinf(value) else f"{value:.{digits}f}"


def _verdicts(found: Evaluation) -> Iterator[str]:
    margin = f"{found.request.margin:.0%}"
    for column in found.columns:
        if column.kind != "reference" or column.reason:
            continue
        for row in found.models[2:]:
            cell = row.cells[column.key]
            if cell.share is None:
                yield (
                    f"By {column.extractor} nothing can be said: the fine-tune's own pictures are not "
                    "surely more like the photographs than the base's."
                )
                break
            kept = estimate_text(cell.share, 2)
            verdict = (
                f"no worse than the fine-tune, by a margin of {margin} at {LEVEL:.0%} confidence"
                if cell.is_no_worse
                else f"not shown to be no worse by a margin of {margin}"
            )
            yield f"{row.label}: keeps {kept} of the likeness by {column.extractor}: {verdict}."
