"""The report as one page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path

from ...errors import MissingExtra
from ...registry.describing.attached_bytes import MAX_TEXT
from ..picture_store import PictureStore
from ..results import Evaluation
from .curves import curves
from .sheets import MOST_SUBJECTS, sheets
from .tables import empty_columns, remarks, tables, verdicts
from .thumbnails import SIZES, STRENGTH, Size


def page(found: Evaluation, pictures: Path, most_bytes: int = MAX_TEXT) -> str:
    """The HTML of the report, of at most so many bytes that it can be attached to a version.

    Pictures are shown smaller for that, then those of fewer subjects; the page says both. Raises
    `MissingExtra` without Jinja2.
    """
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
    template = environment.get_template("report.html")
    common: dict[str, object] = {
        "style": style.read_text(encoding="utf-8"),
        "names": ", ".join(subject.ref for subject in found.subjects),
        "subjects": found.subjects,
        "found": found,
        "verdicts": verdicts(found),
        "tables": tables(found),
        "remarks": remarks(found),
        "missing": empty_columns(found),
        "curves": curves(found),
        "strength": STRENGTH,
        "networks": {c.extractor: c.weights for c in found.columns if c.weights},
    }
    store, subjects = PictureStore(pictures), min(MOST_SUBJECTS, len(found.subjects))
    for size, shown in _smaller_and_smaller(subjects):
        text = template.render(**common, sheets=sheets(found, store, size, shown), size=size)
        if len(text.encode()) <= most_bytes:
            break
    return text


def _smaller_and_smaller(subjects: int) -> Iterator[tuple[Size, int]]:
    """The sizes of pictures, and then fewer and fewer subjects of the last one, down to one."""
    yield from ((size, subjects) for size in SIZES)
    while subjects > 1:
        subjects //= 2
        yield SIZES[-1], subjects
