"""The summary of an addition of many files: their outcomes, the refusals, and the totals."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from .. import number_format
from ..registry import AddedFile, AddedMany, NamedFile
from .base_matches import how_sure
from .documents import plain
from .printable_text import color, printable
from .tables import figure, print_line, print_table, text

OUTCOMES = {
    "added": "added",
    "there": "already there",
    "upgraded": "made lossless",
    "refused": "refused",
}


def print_plan(named: Sequence[NamedFile]) -> None:
    """Print on stderr, before the work, the models whose names differ from those of their files."""
    others = [file for file in named if file.is_renamed]
    if not others:
        return
    click.echo(
        f"models with other names than their files ({len(others)} of {len(named)}):", err=True
    )
    for file in others:
        click.echo(printable(f"  {file.model}: {file.path}"), err=True)


def print_many(found: AddedMany) -> None:
    """Print the summary of all files."""
    if found.files:
        _print_files(found)
    for warning in _warnings(found):
        click.echo(click.style(f"warning: {warning}", fg="yellow"), color=color())
    _print_refused(found)
    print_paths(
        "given by two paths, and taken once",
        [f"{repeat.path}: the same file as {repeat.first}" for repeat in found.repeats],
    )
    print_paths("not reached", list(map(str, found.not_reached)))
    print_line()
    print_line(
        f"{number_format.counted(len(found.files) + len(found.not_reached), 'file')}: "
        + ", ".join(f"{number_format.count(count)} {what}" for what, count in _counts(found))
    )
    if found.stored_bytes:
        print_line(
            f"{number_format.size(found.source_bytes)} before, "
            f"{number_format.size(found.stored_bytes)} after "
            f"({number_format.ratio(found.stored_bytes, found.source_bytes)})"
        )
    print_line(f"originals that are safe to delete: {_deletable(found)}")


def warn_of_many(found: AddedMany) -> None:
    """Print the warnings on stderr if stdout is a file or a pipe."""
    if sys.stdout.isatty():
        return
    for warning in _warnings(found):
        click.echo(click.style(f"warning: {warning}", fg="yellow"), err=True, color=color())


def many_document(found: AddedMany, exit_code: int) -> dict[str, Any]:
    """The summary as a JSON document."""
    return {
        "files": plain(found.files),
        "repeats": plain(found.repeats),
        "not_reached": plain(found.not_reached),
        "added": len(found.added),
        "there": len(found.there),
        "upgraded": len(found.upgraded),
        "refused": len(found.refused),
        "source_bytes": found.source_bytes,
        "stored_bytes": found.stored_bytes,
        "safe_to_delete": plain(found.safe_to_delete),
        "exit_code": exit_code,
    }


def _print_files(found: AddedMany) -> None:
    print_table(
        [
            text("outcome"),
            text("version", optional=True),
            text("base", optional=True),
            text("change to it", optional=True),
            figure("left out", optional=True),
            figure("before", optional=True),
            figure("after", optional=True),
            text("file"),
        ],
        [_cells(file) for file in found.files],
    )


def _cells(file: AddedFile) -> tuple[str, ...]:
    is_in = file.ref is not None
    return (
        OUTCOMES[file.outcome],
        file.ref or "",
        file.base or "",
        _base_found(file),
        number_format.count(len(file.left_out)) if file.left_out else "",
        number_format.size(file.source_bytes) if is_in else "",
        number_format.size(file.stored_bytes) if is_in else "",
        str(file.path),
    )


def _base_found(file: AddedFile) -> str:
    """The comparison by which the base was found; empty if it was named."""
    if file.match is None:
        return ""
    change = file.match.best.change
    return ", ".join(filter(None, (number_format.relative(change), how_sure(file.match))))


def _print_refused(found: AddedMany) -> None:
    refused = [(file.path, file.refusal) for file in found.refused if file.refusal is not None]
    lines = []
    for path, refusal in refused:
        # Most messages name the file; the others get its path.
        names_path = str(path) in refusal.message
        lines.append(refusal.message if names_path else f"{path}: {refusal.message}")
        if refusal.hint:
            lines.append(f"  hint: {refusal.hint}")
    print_paths("refused", lines, len(refused))


def print_paths(title: str, lines: Sequence[str], number: int | None = None) -> None:
    """Print lines under a title with their number; nothing if there are none."""
    if not lines:
        return
    print_line()
    print_line(f"{title} ({number_format.count(len(lines) if number is None else number)}):")
    for line in lines:
        print_line(f"  {line}")


def _counts(found: AddedMany) -> Iterator[tuple[str, int]]:
    yield "added", len(found.added)
    yield "already there", len(found.there)
    if found.upgraded:
        yield "made lossless", len(found.upgraded)
    yield "refused", len(found.refused)
    if found.not_reached:
        yield "not reached", len(found.not_reached)


def _warnings(found: AddedMany) -> list[str]:
    return [
        printable(f"{file.path}: {warning}") for file in found.files for warning in file.warnings
    ]


def _deletable(found: AddedMany) -> str:
    if found.safe_to_delete:
        return ", ".join(map(str, found.safe_to_delete))
    return "none (deltas are lossy; --lossless keeps the originals to the bit)"
