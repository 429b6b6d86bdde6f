"""The results that are checked in: `results.json`, and `RESULTS.md` made from it.

The tables may be made in several sittings: one sitting replaces what it measured and leaves the
rest, each part under the description of the machine that it was taken on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .machine import Machine
from .rows import Record, markdown

FOLDER = Path(__file__).parents[1]
HEAD = """\
# Results

Made by `python -m benchmarks --write`; no figure here was typed by hand. Medians of the runs that each
row states; "ratio" is ours over the yardstick's of the same run, so less is better, and an aim is the
most that it may be. The same numbers, unrounded, are in `results.json`.
"""


@dataclass(frozen=True)
class Section:
    """What one figure gave on one subject in one sitting. `subject` is a title, "" for none."""

    figure: str
    subject: str
    machine: Machine
    version: str
    records: Sequence[Record]


def read(folder: Path = FOLDER) -> list[Section]:
    path = folder / "results.json"
    if not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [Section(**{**entry, "machine": Machine(**entry["machine"])}) for entry in found]


def write(new: Iterable[Section], figures: dict[str, str], folder: Path = FOLDER) -> None:
    """Put `new` sections in the place of old ones of the same figure and subject.

    `figures`: every figure's name and the text that stands above its table, in order.
    """
    sections = {(s.figure, s.subject): s for s in (*read(folder), *new)}
    kept = [s for name in figures for s in sections.values() if s.figure == name]
    entries = json.dumps([asdict(s) for s in kept], indent=1)
    (folder / "results.json").write_text(entries + "\n", encoding="utf-8")
    parts = [HEAD]
    for name, text in figures.items():
        ours = [s for s in kept if s.figure == name]
        if ours:
            parts.append(f"## {name}\n\n{text}\n\n{tables(ours)}\n")
    (folder / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")


def tables(sections: Sequence[Section]) -> str:
    """One table for each machine and version that the sections of a figure were taken on."""
    where: dict[tuple[Machine, str], list[tuple[str, Record]]] = {}
    for section in sections:
        rows = where.setdefault((section.machine, section.version), [])
        rows += [(section.subject, record) for record in section.records]
    return "\n\n".join(
        f"dsvd-registry {version} on {machine}:\n\n{markdown(rows)}"
        for (machine, version), rows in where.items()
    )
