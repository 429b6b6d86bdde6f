"""The command `dsvd curve`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import number_format
from ..encoding.request import DEFAULT_TAUS
from ..registry import Curve, Point
from .documents import plain, print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import figure, print_line, print_table, text


class Taus(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """A parameter type: numbers separated by commas."""

    name = "T,T,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        try:
            return tuple(map(float, str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of taus, such as 0.2,0.5,0.8", param, ctx)


@click.command()
@click.argument("source", metavar="REF|FILE")
@click.option("--base", metavar="NAME", help="The base that FILE is a fine-tune of.")
@click.option(
    "--taus",
    type=Taus(),
    help=f"The taus to try.  [default: {','.join(map(str, DEFAULT_TAUS))}; for a version also its own]",
)
@click.option(
    "--plot",
    metavar="FILE.png",
    type=click.Path(path_type=Path),
    help="Draw the curve as a picture.",
)
@click.option("--force", is_flag=True, help="Replace the picture if it exists.")
@click.option("--keep-noise", is_flag=True, help="Show the result of `dsvd add --keep-noise`.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="The torch device that computes singular values, such as cuda.",
)
@common_options
def curve(
    source: str,
    base: str | None,
    taus: tuple[float, ...] | None,
    plot: Path | None,
    force: bool,
    keep_noise: bool,
    device: str,
    as_json: bool,
) -> None:
    """Show the size and the error of several taus; store nothing.

    For FILE, a checkpoint: the sizes and errors of the versions that `dsvd add` would make. For REF, a
    stored version: the bytes that its own and lower taus read, with errors estimated from the recorded
    ones.
    """
    if plot is not None:
        # A picture that cannot be written is reported before the long work.
        from .plot import check_picture

        check_picture(plot, replace=force)
    with open_registry() as registry, shown_progress() as progress:
        if plot is not None:
            registry.check_output(plot)
        found = registry.curve(
            source, base=base, taus=taus, keep_noise=keep_noise, device=device, progress=progress
        )
    if plot is not None:
        from .plot import write_plot

        write_plot(found, plot, replace=force)
    if as_json:
        print_document(plain(found) | {"plot": plot})
        return
    _print_points(found)
    print_line()
    _print_ranks(found)
    if plot is not None:
        print_line()
        print_line(f"wrote {plot}")


def _print_points(found: Curve) -> None:
    size = number_format.size(found.source_size)
    if found.stored_tau is None:
        print_line(f"{found.source}, {size}, against {found.base}; nothing is stored")
        titles = ("about", "smaller", "error")
    else:
        stored = f"stores up to tau {found.stored_tau:g}"
        print_line(f"{found.source}, of {size}, against {found.base}, {stored}")
        print_line("size: what is read of it; error: estimated from the recorded ones")
        titles = ("size", "smaller", "error")
    print_line()
    is_capped = any(
        point.uncapped_parameters and point.uncapped_parameters != point.parameters
        for point in found.points
    )
    columns = [figure("tau"), *map(figure, titles)]
    columns += [figure(title, optional=True) for title in ("kept", "without the noise cap")]
    columns += [text("", optional=True)]
    print_table(columns, [_cells(point, found.source_size, is_capped) for point in found.points])


def _cells(point: Point, source_size: int, is_capped: bool) -> tuple[str, ...]:
    if point.size is None:
        return (f"{point.tau:g}", "", "", "", "", "", "not stored")
    return (
        f"{point.tau:g}",
        number_format.size(point.size),
        number_format.ratio(point.size, source_size),
        number_format.relative(point.error),
        _count(point.parameters) if is_capped else "",
        _count(point.uncapped_parameters) if is_capped else "",
    )


def _count(parameters: int | None) -> str:
    return "" if parameters is None else number_format.count(parameters)


def _print_ranks(found: Curve) -> None:
    """The mean rank of each layer group at each tau."""
    if not found.groups:
        print_line("no tensor of it is stored as low-rank")
        return
    ranks = [{one.group: one.rank for one in point.groups} for point in found.points]
    print_line("mean rank of the low-rank tensors at each tau")
    columns = [text("layers"), figure("full rank")]
    columns += [figure(f"{point.tau:g}") for point in found.points]
    print_table(
        columns,
        [
            (group.group, f"{group.full_rank:.1f}", *_ranks(group.group, ranks))
            for group in found.groups
        ],
    )


def _ranks(group: str, ranks: Sequence[dict[str, float]]) -> list[str]:
    return [f"{at[group]:.1f}" if group in at else "" for at in ranks]
