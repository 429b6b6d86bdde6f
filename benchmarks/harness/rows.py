"""A row of a table: our value, the yardstick's from the same run, their ratio, and the aim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Unit = Literal["s", "B", "share", "MiB", "error", "parameters", "bits"]
Record = Mapping[str, object]

SHOWN: dict[str, Callable[[float], str]] = {
    "s": lambda value: f"{value:.3f} s" if value < 1 else f"{value:.1f} s",
    "B": lambda value: f"{value:,.0f} B" if value < 1e6 else f"{value / 1e6:,.1f} MB",
    "share": lambda value: f"{value:.3f}",
    "MiB": lambda value: f"{value:,.0f} MiB",
    "error": lambda value: f"{value:.4f}",
    "parameters": lambda value: f"{value:,.0f}",
    "bits": lambda value: f"{value:.3f} bits",
}


@dataclass(frozen=True)
class Aim:
    """The largest acceptable ratio, or the largest acceptable value of ours if `absolute`."""

    reach: float
    stretch: float | None = None
    absolute: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: medians of `runs` and `their_runs` repetitions, both in `unit`.

    `what`: the measured run. `theirs`: None without a yardstick. `ratio`: ours over theirs; below 1
    is better.
    """

    what: str
    unit: Unit
    ours: float
    runs: int
    yardstick: str = ""
    theirs: float | None = None
    their_runs: int = 0
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    def record(self) -> dict[str, object]:
        """The row as a JSON object."""
        return {**asdict(self), "ratio": self.ratio}


COLUMNS = (
    "subject",
    "what ran",
    "runs",
    "ours",
    "yardstick",
    "its runs",
    "yardstick's",
    "ratio",
    "aim",
    "note",
)


def markdown(rows: Sequence[tuple[str, Record]]) -> str:
    """A table of (subject, record) pairs, whose records are rows or have equal keys."""
    if all("yardstick" in record for _, record in rows):
        return _table(COLUMNS, [_cells(subject, record) for subject, record in rows])
    columns = list(rows[0][1])
    return _table(columns, [[_plain(record[c]) for c in columns] for _, record in rows])


def shown_ratio(ratio: float) -> str:
    """Format a ratio, a small one as a fraction: 1/6.6."""
    return f"{ratio:.2f}" if ratio > 2 / 3 else f"1/{1 / ratio:.1f}"


def _cells(subject: str, record: Record) -> list[str]:
    show = SHOWN[str(record["unit"])]
    theirs, ratio = record["theirs"], record["ratio"]
    return [
        subject,
        str(record["what"]),
        str(record["runs"]),
        show(_number(record["ours"])),
        str(record["yardstick"]),
        str(record["their_runs"]) if theirs is not None else "",
        show(_number(theirs)) if theirs is not None else "",
        shown_ratio(_number(ratio)) if ratio is not None else "",
        _aim(record, show),
        str(record["note"]),
    ]


def _aim(record: Record, show: Callable[[float], str]) -> str:
    """Format the aim, and whether it is met."""
    aim = record["aim"]
    if not isinstance(aim, Mapping):
        return ""
    judged = record["ours"] if aim["absolute"] else record["ratio"]
    words = show if aim["absolute"] else shown_ratio
    text = f"{words(_number(aim['reach']))}"
    met = "met" if _number(judged) <= _number(aim["reach"]) else "MISSED"
    if aim["stretch"] is not None:
        text += f" (stretch {words(_number(aim['stretch']))})"
        met = "stretch met" if _number(judged) <= _number(aim["stretch"]) else met
    return f"{text}: {met}"


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
