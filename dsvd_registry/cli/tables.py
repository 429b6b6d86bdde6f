"""Aligned tables for people.

Nothing is cut to fit a terminal, which wraps long lines itself. So the widest column, such as the
names of tensors, is the last one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from .printable_text import printable

GAP = "  "
DUMB = ("dumb", "unknown")  # terminals without bold text


@dataclass(frozen=True)
class Column:
    """A column: its heading and alignment. An optional one is left out if all its cells are empty."""

    title: str
    right: bool = False
    optional: bool = False


def text(title: str, *, optional: bool = False) -> Column:
    """A column of words, aligned left."""
    return Column(title, optional=optional)


def figure(title: str, *, optional: bool = False) -> Column:
    """A column of numbers, aligned right."""
    return Column(title, right=True, optional=optional)


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    bold: Sequence[int] = (),
) -> None:
    """Print `rows` under their headings. `bold`: the numbers of bold rows. Rows may be short."""
    body = [(*row, *[""] * (len(columns) - len(row))) for row in rows]
    in_bold = [0, *(1 + number for number in bold)] if _shows_bold() else []
    table = []
    for number, column in enumerate(columns):
        cells = [row[number] for row in body]
        if column.optional and not any(cells):
            continue
        if not "".join(cells).isprintable():
            cells = list(map(printable, cells))
        aligned = _aligned([column.title, *cells], column.right)
        for line in in_bold:
            aligned[line] = click.style(aligned[line], bold=True)
        table.append(aligned)
    click.echo("\n".join(GAP.join(cells).rstrip() for cells in zip(*table, strict=True)))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print "name  value" lines with aligned values; a field without a value is left out."""
    given = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        first, *rest = value.splitlines()
        print_line(f"{name:<{width}}  {first}")
        for line in rest:
            print_line(f"{'':<{width}}  {line}")


def print_line(line: str = "") -> None:
    """Print one line of text, with control characters escaped."""
    click.echo(printable(line))


def _aligned(cells: Sequence[str], right: bool) -> list[str]:
    """The cells, padded to the same width on a terminal."""
    fill = str.rjust if right else str.ljust
    if "".join(cells).isascii():
        widest = max(map(len, cells))
        return [fill(cell, widest) for cell in cells]
    # Imported only if needed: some characters take two columns of a terminal, and some none.
    from rich.cells import cell_len

    widths = [cell_len(cell) for cell in cells]
    widest = max(widths)
    return [
        fill(cell, widest + len(cell) - width) for cell, width in zip(cells, widths, strict=True)
    ]


def _shows_bold() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in DUMB
