"""What became of many files: a line for each, why some were refused, and the sums."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..registry import AddedFile, AddedMany
from . import figures
from .documents import plain
from .printable import color, printable
from .tables import figure, print_line, print_table, text

OUTCOMES = {"added": "added", "there": "already there", "refused": "refused"}


def print_many(found: AddedMany) -> None:
    """Print the summary of all files."""
    print_table(
        [
            text("outcome"),
            text("version", optional=True),
            text("base", optional=True),
            figure("before", optional=True),
            figure("after", optional=True),
            text("file"),
        ],
        [_cells(file) for file in found.files],
    )
    for warning in _warnings(found):
        click.echo(click.style(f"warning: {warning}", fg="yellow"), color=color())
    if found.refused:
        print_line()
        print_line(f"refused ({figures.count(len(found.refused))}):")
    for file in found.refused:
        assert file.refusal is not None
        print_line(f"  {file.path}: {file.refusal.message}")
        if file.refusal.hint:
            print_line(f"    hint: {file.refusal.hint}")
    print_line()
    print_line(
        f"{figures.counted(len(found.files), 'file')}: {figures.count(len(found.added))} added, "
        f"{figures.count(len(found.there))} already there, "
        f"{figures.count(len(found.refused))} refused"
    )
    if found.stored_bytes:
        print_line(
            f"{figures.size(found.source_bytes)} before, {figures.size(found.stored_bytes)} after "
            f"({figures.ratio(found.stored_bytes, found.source_bytes)})"
        )
    print_line(f"originals that are safe to delete: {_deletable(found)}")


def warn_of_many(found: AddedMany) -> None:
    """Say the warnings on stderr, where stdout goes to a file or a program."""
    if sys.stdout.isatty():
        return
    for warning in _warnings(found):
        click.echo(click.style(f"warning: {warning}", fg="yellow"), err=True, color=color())


def many_document(found: AddedMany) -> dict[str, Any]:
    """All of it for programs."""
    sums: dict[str, Any] = {
        "added": len(found.added),
        "there": len(found.there),
        "refused": len(found.refused),
        "source_bytes": found.source_bytes,
        "stored_bytes": found.stored_bytes,
        "safe_to_delete": plain(found.safe_to_delete),
        "exit_code": found.exit_code,
    }
    return {"files": plain(found.files)} | sums


def _cells(file: AddedFile) -> tuple[str, ...]:
    if file.ref is None:
        return (OUTCOMES[file.outcome], "", "", "", "", str(file.path))
    return (
        OUTCOMES[file.outcome],
        file.ref,
        file.base or "",
        figures.size(file.source_bytes),
        figures.size(file.stored_bytes),
        str(file.path),
    )


def _warnings(found: AddedMany) -> list[str]:
    return [
        printable(f"{file.path}: {warning}") for file in found.files for warning in file.warnings
    ]


def _deletable(found: AddedMany) -> str:
    if found.safe_to_delete:
        return ", ".join(map(str, found.safe_to_delete))
    return "none (deltas lose something of them; a version that loses nothing cannot be made yet)"
