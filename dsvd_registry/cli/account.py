"""The printed account of a version's tensors, for `add`, `import` and `show`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from .. import number_format
from ..container.records import LORA_FORMAT, MERGE_FORMAT, CastRecord, QuantisedRecord
from ..container.totals import CONSTANT
from ..registry import GroupRow, KindRow, Report
from .printable_text import color, printable
from .tables import figure, print_line, print_table, text

NAMES_SHOWN = 10
# Kinds that most versions have none of, and need no row for.
_SELDOM = (CastRecord.kind, QuantisedRecord.kind, CONSTANT)


def print_account(report: Report) -> None:
    """Print the whole report except the rows of single tensors."""
    for warning in report.warnings:
        click.echo(click.style(f"warning: {printable(warning)}", fg="yellow"), color=color())
    before = _bytes_of_tensors(report) if _is_merge(report) else report.source_bytes
    print_line(
        f"{number_format.size(report.stored_bytes)} for {number_format.size(before)}"
        f" ({number_format.ratio(report.stored_bytes, before)}){_requested(report)}"
    )
    if _is_lora(report):
        print_line(_lora(report))
    print_line(
        f"relative error of the whole delta {number_format.relative(report.error)};"
        f" the delta is {number_format.relative(report.change)} of the weights it changes"
    )
    if report.capped:
        saved = report.uncapped_parameters / report.stored_parameters
        capped = number_format.counted(len(report.capped), "tensor")
        print_line(
            f"the rounding noise of half precision: {capped} capped,"
            f" 1/{saved:.3g} of the parameters that tau alone would keep"
        )
    for scheme, count in report.schemes.items():
        tensors = number_format.counted(count, "tensor")
        print_line(
            f"quantised ({scheme}): {tensors}, predicted from the base; the rest is in the residual"
        )
    print_line()
    _print_kinds(report)
    print_line()
    _print_groups(report.groups)
    raw = [f"{row.name}: {row.reason}" for row in report.tensors if row.kind == "raw"]
    constants = [row.name for row in report.tensors if row.kind == CONSTANT]
    print_some("stored raw", raw)
    print_some("constants, kept exactly and counted in no error", constants)
    print_some("not taken from the base", report.not_taken)
    print_some(
        "left out of the source", [f"{entry.name}: {entry.reason}" for entry in report.left_out]
    )


def _is_lora(report: Report) -> bool:
    return report.source_format == LORA_FORMAT


def _is_merge(report: Report) -> bool:
    return report.source_format == MERGE_FORMAT


def _bytes_of_tensors(report: Report) -> int:
    return sum(row.source_bytes for row in report.kinds)


def _lora(report: Report) -> str:
    """A line on the source: "a LoRA of 24 tensors of the base, ranks 4 to 8"."""
    # The noise ranks are those of the LoRA itself, whatever tau was requested.
    ranks = sorted(row.noise_rank for row in report.tensors if row.noise_rank is not None)
    changed = sum(row.kind != "same" for row in report.tensors)
    words = [f"a LoRA of {number_format.counted(changed, 'tensor')} of the base"]
    if ranks:
        words.append(
            f"rank {ranks[0]}" if ranks[0] == ranks[-1] else f"ranks {ranks[0]} to {ranks[-1]}"
        )
    return ", ".join(words)


def _requested(report: Report) -> str:
    if report.max_error is not None:
        return f"; asked: relative error {report.max_error:g}; reached {report.error:.4g}"
    if report.budget is not None:
        asked = number_format.size(report.budget)
        return f"; asked: {asked}; reached relative error {report.error:.4g}"
    return f" at tau {report.tau:g}, grid noise {report.grid_noise:g}"


def warn(report: Report) -> None:
    """Print the warnings on stderr if stdout is a file or a pipe."""
    if sys.stdout.isatty():
        return
    for warning in report.warnings:
        line = click.style(f"warning: {printable(warning)}", fg="yellow")
        click.echo(line, err=True, color=color())


def kind_name(kind: str) -> str:
    """A record kind as text for people: "low-rank"."""
    return kind.replace("_", "-")


def _print_kinds(report: Report) -> None:
    before = _bytes_of_tensors(report)
    # A LoRA file itself has none of the tensors of its result; nor has the recipe of a merge.
    has_none = _is_lora(report) or _is_merge(report)
    rest_before = "" if has_none else number_format.size(report.source_bytes - before)
    rest_after = report.stored_bytes - sum(row.stored_bytes for row in report.kinds)
    columns = [text("kind"), *map(figure, ("tensors", "parameters", "kept", "before", "after"))]
    shown = [row for row in report.kinds if row.tensors or row.kind not in _SELDOM]
    rows = [_kind_cells(row) for row in shown]
    # Headers and padding. `rest_before` is negative if tensors share storage in the source.
    rows.append(("rest of the file", "", "", "", rest_before, number_format.size(rest_after)))
    total = (
        "total",
        number_format.count(report.total),
        number_format.count(report.parameters),
        number_format.count(sum(row.stored_parameters for row in report.kinds)),
        number_format.size(before if has_none else report.source_bytes),
        number_format.size(report.stored_bytes),
    )
    outside = (
        ("not taken from the base", number_format.count(len(report.not_taken))),
        ("left out of the source", number_format.count(len(report.left_out))),
    )
    print_table(columns, [*rows, total, *outside], bold=(len(rows),))


def _kind_cells(row: KindRow) -> tuple[str, ...]:
    return (
        kind_name(row.kind),
        number_format.count(row.tensors),
        number_format.count(row.parameters),
        number_format.count(row.stored_parameters),
        number_format.size(row.source_bytes),
        number_format.size(row.stored_bytes),
    )


def _print_groups(groups: Sequence[GroupRow]) -> None:
    titles = ("tensors", "low-rank", "full rank", "rank", "energy", "error", "change", "after")
    print_table(
        [text("layers"), *map(figure, titles)],
        [
            (
                row.group,
                number_format.count(row.tensors),
                number_format.count(row.low_rank),
                f"{row.full_rank:.1f}" if row.low_rank else "",
                f"{row.rank:.1f}" if row.low_rank else "",
                number_format.share(row.energy) if row.low_rank else "",
                number_format.relative(row.error),
                number_format.relative(row.change),
                number_format.size(row.stored_bytes),
            )
            for row in groups
        ],
    )


def print_some(title: str, entries: Sequence[str]) -> None:
    """Print the first of these lines, and their number; nothing if there are none."""
    if not entries:
        return
    print_line()
    print_line(f"{title} ({number_format.count(len(entries))}):")
    for entry in entries[:NAMES_SHOWN]:
        print_line(f"  {entry}")
    if len(entries) > NAMES_SHOWN:
        print_line(f"  and {number_format.count(len(entries) - NAMES_SHOWN)} more")
