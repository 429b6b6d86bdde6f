"""Aligned tables for people.

Nothing is cut or folded to fit a terminal: a line too long is the terminal's to wrap. So the widest
column, such as the names of tensors, stands last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .printable import printable

_UNBOUNDED = 1_000_000


@dataclass(frozen=True)
class Column:
    """A column's heading and side; an optional one is left out where all its cells are empty."""

    title: str
    right: bool = False
    optional: bool = False


def text(title: str, *, optional: bool = False) -> Column:
    """A column of words."""
    return Column(title, optional=optional)


def figure(title: str, *, optional: bool = False) -> Column:
    """A column of numbers."""
    return Column(title, right=True, optional=optional)


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    bold: Sequence[int] = (),
) -> None:
    """Print `rows` under their headings, those numbered in `bold` in bold. Rows may end early."""
    body = list(rows)
    shown = [
        number
        for number, column in enumerate(columns)
        if not column.optional or any(_cell(row, number) for row in body)
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number in shown:
        column = columns[number]
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for index, row in enumerate(body):
        cells = (Text(printable(_cell(row, number))) for number in shown)
        table.add_row(*cells, style="bold" if index in bold else None)
    console = Console(width=_UNBOUNDED, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print "name  value" lines, the values in one column; a field without a value is left out."""
    given = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        first, *rest = value.splitlines()
        print_line(f"{name:<{width}}  {first}")
        for line in rest:
            print_line(f"{'':<{width}}  {line}")


def print_line(line: str = "") -> None:
    """Print one line of text, whatever is in it."""
    click.echo(printable(line))


def _cell(row: Sequence[str], number: int) -> str:
    return row[number] if number < len(row) else ""
