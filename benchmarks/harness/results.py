"""The committed results: `results.json`, and `RESULTS.md` made from it.

Figures may be measured in several runs. A run replaces the sections that it measured and keeps the
others, each with the description of its machine.
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

`python -m benchmarks --write` makes this file; no figure was typed by hand. Values are medians of the
given number of runs. "ratio" is our value over the yardstick's of the same run: less is better, and the
aim is the largest acceptable one. `results.json` has the same numbers, unrounded.
"""


@dataclass(frozen=True)
class Section:
    """The records of one figure for one subject in one run. `subject`: its title, "" for none."""

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
    """Replace the sections of the same figure and subject with `new` ones.

    `figures`: the name of every figure and the text above its table, in order.
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
    """One table for each machine and version that the sections of a figure were measured with."""
    where: dict[tuple[Machine, str], list[tuple[str, Record]]] = {}
    for section in sections:
        rows = where.setdefault((section.machine, section.version), [])
        rows += [(section.subject, record) for record in section.records]
    return "\n\n".join(
        f"dsvd-registry {version} on {machine}:\n\n{markdown(rows)}"
        for (machine, version), rows in where.items()
    )
