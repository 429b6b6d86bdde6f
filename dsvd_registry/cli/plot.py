"""The picture of a curve. Nothing else imports matplotlib."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import number_format
from ..errors import InvalidArgument, MissingExtra
from ..fs import check_place, new_file, write_file
from ..registry import Curve, GroupSpectrum

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
except ImportError as error:
    raise MissingExtra(
        "a picture needs matplotlib, which is not installed",
        "Install it with: pip install 'dsvd-registry[plot]'",
    ) from error

INCHES, DOTS_PER_INCH = (11.0, 5.2), 150
INK, PALE = "#222222", "#dddddd"
# The colours of Okabe and Ito, which colour-blind people can distinguish, without their pale yellow,
# and one of Paul Tol's.
COLORS = {
    "conv_in": "#56b4e9",
    "down": "#0072b2",
    "mid": "#d55e00",
    "up": "#009e73",
    "conv_out": "#e69f00",
    "time embedding": "#cc79a7",
    "text encoder": "#000000",
    "VAE": "#882255",
    "other": "#999999",
}
LEAST_VALUE = 1e-4  # of a singular value that is drawn
POINTS: dict[str, Any] = {"markersize": 5, "linewidth": 1.6}


def check_picture(path: Path, *, replace: bool) -> None:
    """Check before the work that `write_plot` can write the picture. Raises as `write_plot`."""
    if path.suffix.lower() != ".png":
        raise InvalidArgument(f"{path} does not end with .png", "The picture is a PNG file.")
    check_place(path, replace=replace)
    with new_file(path.parent):
        pass


def write_plot(curve: Curve, path: Path, *, replace: bool) -> None:
    """Draw `curve` into a PNG file.

    Raises `Conflict` if it exists and `replace` is false, `StorageError`.
    """
    data = io.BytesIO()
    # Without the version of matplotlib the same curve gives the same bytes.
    _drawn(curve).savefig(data, format="png", metadata={"Software": None})
    write_file(path, data.getvalue(), replace=replace)


def _drawn(curve: Curve) -> Figure:
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.15))
    errors = figure.add_subplot(grid[0, 0])
    sizes = figure.add_subplot(grid[1, 0], sharex=errors)
    spectra = figure.add_subplot(grid[:, 1])
    _draw_points(errors, sizes, curve)
    _draw_spectra(spectra, curve)
    figure.align_ylabels([errors, sizes])
    figure.suptitle(_title(curve), fontsize=14, color=INK)
    return figure


def _title(curve: Curve) -> str:
    if curve.stored_tau is None:
        return f"{Path(curve.source).name} against the base {curve.base}"
    return f"{curve.source} against the base {curve.base}, stored up to tau {curve.stored_tau:g}"


def _draw_points(errors: Axes, sizes: Axes, curve: Curve) -> None:
    """Draw error and bytes over tau, one above the other."""
    is_stored = curve.stored_tau is not None
    points = [point for point in curve.points if point.is_served]
    taus = [point.tau for point in points]
    errors.plot(taus, [point.error or 0.0 for point in points], "o-", color=INK, **POINTS)
    sizes.plot(taus, [point.size or 0 for point in points], "o-", color=INK, **POINTS)
    for axes in (errors, sizes):
        _make_plain(axes)
    errors.set_ylabel("relative error" + (", estimated" if is_stored else ""))
    errors.set_ylim(0, 1)
    errors.yaxis.set_major_formatter(PercentFormatter(1))
    errors.tick_params(labelbottom=False)
    sizes.set_ylabel("bytes read" if is_stored else "bytes stored, about")
    sizes.set_yscale("log")
    sizes.margins(y=0.12)
    sizes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    sizes.yaxis.set_minor_locator(NullLocator())
    sizes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: _size(size)))
    sizes.set_xlabel("tau")
    sizes.set_xlim(0, 1)


def _draw_spectra(axes: Axes, curve: Curve) -> None:
    """Draw the singular values of each layer group, and a dot at the rank of each tau."""
    for group in curve.groups:
        color = COLORS[group.group]
        axes.plot(group.places, group.values, color=color, linewidth=1.8, label=group.group)
        ends = list(_tau_ends(group))
        axes.plot([x for x, _ in ends], [y for _, y in ends], "o", color=color, markersize=4.5)
    axes.plot([], [], "o", color="#777777", markersize=4.5, label="rank of each tau")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(LEAST_VALUE, axes.get_ylim()[0]), top=1.6)
    axes.set_xlim(left=axes.get_xlim()[0] / 3)  # room for the first label
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{100 * place:g}%"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("component number / full rank")
    axes.set_ylabel("singular value / largest, median of the layers")
    _make_plain(axes)
    if curve.groups:
        _label_taus(axes, min(curve.groups, key=_middle), [point.tau for point in curve.points])
    axes.legend(loc="lower left", frameon=False, fontsize=10, labelspacing=0.35)


def _middle(group: GroupSpectrum) -> float:
    """A sort key that is smallest for the lowest curve, which has free space below it."""
    return float(np.log(group.places).mean() + np.log(np.maximum(group.values, LEAST_VALUE)).mean())


def _label_taus(axes: Axes, group: GroupSpectrum, taus: Sequence[float]) -> None:
    """Write the taus below the dots of one group; taus with the same rank share a label."""
    ends = list(zip(_tau_ends(group), taus, strict=False))
    for end, shared in itertools.groupby(ends, key=lambda pair: pair[0]):
        names = [f"{tau:g}" for _, tau in shared]
        label = ", ".join(names) if len(names) < 3 else f"{names[0]} to {names[-1]}"
        axes.annotate(
            label if end is not ends[0][0] else f"tau {label}",
            end,
            xytext=(-4, -5),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="top",
            fontsize=9,
            color=INK,
        )


def _tau_ends(group: GroupSpectrum) -> Iterator[tuple[float, float]]:
    """The point on a group's curve at the rank of each tau; ranks that are not stored have none."""
    places, values = np.log(group.places), np.log(np.maximum(group.values, LEAST_VALUE))
    for place in group.tau_places:
        if place is not None:
            yield place, float(np.exp(np.interp(np.log(place), places, values)))


def _size(size: float) -> str:
    return number_format.size(round(size)).replace(".0 ", " ")


def _make_plain(axes: Axes) -> None:
    axes.grid(color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(which="both", color="#888888", labelcolor=INK, labelsize=10)
