"""The results of an evaluation: each picture with its measures, and each model with its means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .bootstrap import Estimate
from .columns import Column
from .models import Subject
from .painting import Circumstances
from .request import EvaluationRequest


@dataclass(frozen=True)
class PictureRow:
    """One picture: what painted it, and its measures by the keys of columns.

    `picture`: the key of its file. `number`: that of the prompt. The value of PSNR is infinite for a
    picture that is the fine-tune's own.
    """

    subject: str
    model: str
    number: int
    prompt: str
    seed: int
    picture: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class SetRow:
    """All pictures of one model of one subject against its photographs: the measures of sets."""

    subject: str
    model: str
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Floor:
    """The FID between two halves of the same photographs, in the mean over splits and subjects.

    `photographs`: how many each subject has, at least and at most. None where there are too few.
    """

    key: str
    photographs: tuple[int, int]
    value: float | None


@dataclass(frozen=True)
class Cell:
    """One measure of one model.

    `estimate`: the mean over all pictures; None in an empty column. `share`: of what the fine-tune has
    gained over the base, for the similarity to photographs; None if nothing was surely gained.
    `is_no_worse`: whether the share is surely above 1 - margin; None where that is not asked.
    """

    estimate: Estimate | None
    share: Estimate | None = None
    is_no_worse: bool | None = None


@dataclass(frozen=True)
class ModelRow:
    """One model over all subjects. `size`: mean bytes. `cells`: by the keys of columns."""

    label: str
    size: float
    tau: float | None
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Measured:
    """The measures of all pictures, before any mean. `sizes`: of the sets of photographs."""

    pictures: tuple[PictureRow, ...]
    sets: tuple[SetRow, ...]
    floors: tuple[Floor, ...]


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report says."""

    request: EvaluationRequest
    circumstances: Circumstances
    subjects: tuple[Subject, ...]
    columns: tuple[Column, ...]
    models: tuple[ModelRow, ...]
    measured: Measured
