"""The folder of a report: `index.html`, `report.md`, `report.json`, and the pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ... import fs
from ...errors import Conflict
from ..results import Evaluation
from .document import document
from .markdown import markdown
from .page import page

PICTURES = "pictures"
PAGE, TEXT, DOCUMENT = "index.html", "report.md", "report.json"


@dataclass(frozen=True)
class ReportFolder:
    """A folder that a report is written into, and that keeps its pictures from run to run."""

    path: Path

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.path / PICTURES

    def prepare(self) -> None:
        """Make the folder before the work.

        Raises `Conflict` if there is something in it that is no report, `StorageError`.
        """
        with fs.storage_errors(self.path):
            is_other = self.path.exists() and not (
                self.path.is_dir() and (self.pictures.is_dir() or not any(self.path.iterdir()))
            )
        if is_other:
            raise Conflict(
                f"{self.path} exists, and is not the folder of a report",
                "Give another folder; a run that was stopped is continued in its own.",
            )
        fs.make_folder(self.pictures)

    def write(self, found: Evaluation) -> None:
        """Write the report; an earlier one is replaced, the document last. Raises `StorageError`."""
        written = json.dumps(document(found), indent=1, ensure_ascii=False, allow_nan=False)
        for name, text in (
            (PAGE, page(found, self.pictures)),
            (TEXT, markdown(found)),
            (DOCUMENT, written + "\n"),
        ):
            fs.write_file(self.path / name, text.encode(), replace=True)
