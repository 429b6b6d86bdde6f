"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from ..results import Evaluation
from .tables import Table, empty_columns, remarks, tables, verdicts


def markdown(found: Evaluation) -> str:
    """The tables of the report, what follows from them, and what limits them."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Evaluation) -> Iterator[str]:
    names = ", ".join(subject.ref for subject in found.subjects)
    yield f"# Evaluation of {_escaped(names)}"
    yield ""
    for sentence in verdicts(found):
        yield f"- {_escaped(sentence)}"
    for table in tables(found):
        yield from _table(table)
    said = remarks(found)
    if said:
        yield from ("", "## What limits this", "")
        yield from (f"- {_escaped(one)}" for one in said)
    missing = empty_columns(found)
    if missing:
        yield from ("", "## Not measured", "")
        yield from (f"- {_escaped(one)}" for one in missing)
    yield from ("", "## Networks", "")
    known = {c.extractor: c.weights for c in found.columns if c.weights}
    yield from (f"- {_escaped(name)}: `{digest}`" for name, digest in known.items())


def _table(table: Table) -> Iterator[str]:
    yield from ("", f"## {table.heading}", "", table.lead, "")
    titles = [f"{c.title}{f' ({c.extractor})' if c.extractor else ''}" for c in table.columns]
    yield f"| model | bytes | {' | '.join(map(_escaped, titles))} |"
    yield f"|---|--:|{'--:|' * len(titles)}"
    for row in table.rows:
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(text: str) -> str:
    """Text that no Markdown acts on."""
    for sign in "\\`*_<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text
