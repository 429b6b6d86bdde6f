"""The report as one page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from ...errors import MissingExtra
from ..picture_store import PictureStore
from ..results import Evaluation
from .curves import curves
from .sheets import MOST_SUBJECTS, sheets
from .tables import empty_columns, remarks, tables, verdicts
from .thumbnails import STRENGTH


def page(found: Evaluation, pictures: Path) -> str:
    """The HTML of the report. Raises `MissingExtra` without Jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtra(
            "the report needs Jinja2, which is not installed",
            "Install it with `pip install 'dsvd-registry[evaluate]'`.",
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = importlib.resources.files(__package__).joinpath("templates", "report.css")
    return environment.get_template("report.html").render(
        style=style.read_text(encoding="utf-8"),
        names=", ".join(subject.ref for subject in found.subjects),
        subjects=found.subjects,
        found=found,
        verdicts=verdicts(found),
        tables=tables(found),
        remarks=remarks(found),
        missing=empty_columns(found),
        curves=curves(found),
        sheets=sheets(found, PictureStore(pictures)),
        most_subjects=MOST_SUBJECTS,
        strength=STRENGTH,
        networks={c.extractor: c.weights for c in found.columns if c.weights},
    )
