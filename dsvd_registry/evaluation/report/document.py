"""The report as a JSON document: every measure, with nothing rounded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..bootstrap import DRAWS, LEVEL, Estimate
from ..results import Cell, Evaluation

FORMAT = "dsvd-evaluation"


def document(found: Evaluation) -> dict[str, Any]:
    """The whole report. An infinite PSNR, of a picture that is the fine-tune's own, is null."""
    return {
        "format": FORMAT,
        "version": 1,
        **summary(found),
        "sets": [
            {"subject": row.subject, "model": row.model, "measures": _numbers(row.values)}
            for row in found.measured.sets
        ],
        "pictures": [
            {
                "subject": row.subject,
                "model": row.model,
                "prompt": row.prompt,
                "seed": row.seed,
                "file": f"pictures/{row.picture}.png",
                "measures": _numbers(row.values),
            }
            for row in found.measured.pictures
        ],
    }


def summary(found: Evaluation) -> dict[str, Any]:
    """The report without its single pictures."""
    common = found.circumstances
    return {
        "subjects": [
            {
                "ref": subject.ref,
                "words": subject.words,
                "class": subject.noun,
                "prompts": list(subject.prompts),
                "remark": subject.remark,
                "weights": {model.label: dict(model.identity) for model in subject.models},
            }
            for subject in found.subjects
        ],
        "seeds": list(found.request.seeds),
        "pipeline": common.pipeline,
        "settings": dict(common.settings),
        "device": common.device,
        "libraries": dict(common.versions),
        "intervals": {"level": LEVEL, "draws": DRAWS},
        "margin": found.request.margin,
        "columns": [
            {
                "key": column.key,
                "kind": column.kind,
                "title": column.title,
                "extractor": column.extractor,
                "weights": column.weights,
                "higher_is_better": column.is_higher,
                "empty_because": column.reason,
            }
            for column in found.columns
        ],
        "fid_floors": [
            {"key": floor.key, "photographs": list(floor.photographs), "fid": floor.value}
            for floor in found.measured.floors
        ],
        "models": [
            {
                "model": row.label,
                "bytes": row.size,
                "tau": row.tau,
                "measures": {key: _cell(cell) for key, cell in row.cells.items()},
            }
            for row in found.models
        ],
    }


def _cell(cell: Cell) -> dict[str, Any] | None:
    if cell.estimate is None:
        return None
    found = _estimate(cell.estimate)
    if cell.share is not None:
        found |= {"share": _estimate(cell.share), "no_worse": cell.is_no_worse}
    return found


def _estimate(one: Estimate) -> dict[str, Any]:
    return _numbers({"mean": one.mean, "low": one.low, "high": one.high})


def _numbers(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {
        key: None if value is None or math.isinf(value) else value for key, value in values.items()
    }
