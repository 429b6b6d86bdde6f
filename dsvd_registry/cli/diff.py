"""The command `dsvd diff`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from .. import number_format
from ..errors import InvalidArgument
from .account import kind_name
from .documents import plain, print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import Column, figure, print_line, print_table, text

if TYPE_CHECKING:
    from ..registry.accounts.diff import BaseDifference, TensorDifference

ROWS_SHOWN = 40


@click.command()
@click.argument("left", metavar="REF")
@click.argument("right", metavar="REF", required=False)
@click.option("--base", "with_base", is_flag=True, help="Compare one version with its base.")
@click.option(
    "--all", "show_all", is_flag=True, help=f"Show all tensors, not only the first {ROWS_SHOWN}."
)
@common_options
def diff(left: str, right: str | None, with_base: bool, show_all: bool, as_json: bool) -> None:
    """Compare two versions, or one with its base.

    apart: the norm of the difference of two deltas; the largest come first. distance: that norm over
    the larger of the two deltas' norms. change: the norm of a delta over that of the base's weights.
    """
    if with_base == (right is not None):
        raise InvalidArgument(
            "diff takes two refs, or one and --base",
            "Write `dsvd diff A B` or `dsvd diff A --base`.",
        )
    if right is None:
        _with_base(left, show_all, as_json)
    else:
        _of_two(left, right, show_all, as_json)


def _of_two(left: str, right: str, show_all: bool, as_json: bool) -> None:
    with open_registry() as registry, shown_progress() as progress:
        refs = {"left": registry.version(left).ref, "right": registry.version(right).ref}
        found = registry.diff(left, right, progress=progress)
    if as_json:
        print_document(refs | plain(found))
        return
    print_line(f"left {refs['left']}, right {refs['right']}")
    print_line()
    columns = [figure("apart"), figure("distance", optional=True), figure("cosine", optional=True)]
    for side in ("left", "right"):
        columns.append(text(side))
        columns += [figure(title, optional=True) for title in ("rank", "energy", "bytes")]
    columns.append(text("tensor"))
    rows = [_two_cells(row) for row in sorted(found.tensors, key=_apart, reverse=True)]
    apart = found.distance * max(found.left_norm, found.right_norm)
    total = [
        number_format.relative(apart),
        number_format.relative(found.distance),
        number_format.share(found.cosine),
    ]
    total += ["", "", "", number_format.count(found.left_bytes)]
    total += ["", "", "", number_format.count(found.right_bytes), "total"]
    _print_rows(columns, rows, show_all, total)


def _with_base(ref: str, show_all: bool, as_json: bool) -> None:
    with open_registry() as registry, shown_progress() as progress:
        version = registry.version(ref)
        found = registry.diff_base(ref, progress=progress)
    if as_json:
        print_document({"ref": version.ref, "base": version.base, "tensors": found})
        return
    print_line(f"{version.ref} against its base {version.base_name}")
    print_line()
    columns = [text("kind"), figure("change"), figure("cosine")]
    columns += [figure(title, optional=True) for title in ("rank", "energy")]
    columns.append(text("tensor"))
    rows = sorted(found, key=lambda row: row.change, reverse=True)
    _print_rows(columns, [_base_cells(row) for row in rows], show_all, None)


def _print_rows(
    columns: list[Column], rows: list[list[str]], show_all: bool, total: list[str] | None
) -> None:
    shown = rows if show_all else rows[:ROWS_SHOWN]
    print_table(columns, [*shown, *([total] if total else [])], bold=(len(shown),))
    if len(shown) < len(rows):
        print_line(f"and {number_format.counted(len(rows) - len(shown), 'tensor')} more: --all")


def _apart(row: TensorDifference) -> float:
    """The sort key. Tensors that differ by an unknown distance come first."""
    if row.apart is not None:
        return row.apart
    return 0.0 if row.equal else math.inf


def _two_cells(row: TensorDifference) -> list[str]:
    apart = number_format.relative(row.apart)
    if row.left is None or row.right is None:
        apart = "on one side"
    elif row.apart is None:
        apart = "equal" if row.equal else "not equal"
    cells = [apart, number_format.relative(row.distance), number_format.share(row.cosine)]
    for side in (row.left, row.right):
        if side is None:
            cells += ["", "", "", ""]
        else:
            cells += [
                kind_name(side.kind),
                number_format.rank(side.rank),
                number_format.share(side.energy),
            ]
            cells.append(number_format.count(side.stored_bytes))
    return [*cells, row.name]


def _base_cells(row: BaseDifference) -> list[str]:
    return [
        kind_name(row.kind),
        number_format.relative(row.change),
        number_format.share(row.cosine, 6),
        number_format.rank(row.rank),
        number_format.share(row.energy),
        row.name,
    ]
