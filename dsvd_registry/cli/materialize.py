"""The command `dsvd materialize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .. import number_format
from .documents import print_document
from .options import common_options, form_options, open_registry
from .progress import shown_progress
from .tables import print_line

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype
    from ..reconstruction.target_layout import LayoutName


SHOWN = 8  # tensors in the list of those that are left out


@click.command()
@click.argument("ref")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The path to write to.  [default: NAME.safetensors, or the folder NAME, in this folder]",
)
@form_options
@click.option("--force", is_flag=True, help="Replace the file or folder if it exists.")
@common_options
def materialize(
    ref: str,
    output: Path | None,
    tau: float | None,
    dtype: FloatDtype | None,
    layout: LayoutName | Literal["as-added"],
    like: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the full checkpoint of a version.

    The result is a safetensors file, or a folder of diffusers if one was added, with the same bytes on
    every machine. A lossless version gives the file that was added, to the byte; for a .ckpt, a
    safetensors file with the same tensors to the bit.
    """
    with open_registry() as registry, shown_progress() as progress:
        version = registry.version(ref)
        wanted = None if layout == "as-added" else layout
        target = output or registry.default_output(version.ref, wanted)
        written = registry.materialize(
            version.ref,
            target,
            tau=tau,
            dtype=dtype,
            layout=wanted,
            like=like,
            replace=force,
            progress=progress,
        )
    if as_json:
        print_document({"ref": version.ref, "written": written})
        return
    what = "lossless" if written.lossless else f"at tau {written.tau:g}"
    print_line(f"wrote {written.path}: {version.ref} {what}, {number_format.size(written.size)}")
    if written.left_out:
        some = ", ".join(written.left_out[:SHOWN])
        others = len(written.left_out) - SHOWN
        more = f" and {others} others (--json has all)" if others > 0 else ""
        print_line(f"left out, as this layout has no place for it: {some}{more}")
    for adjusted in written.adjusted:
        before = "does not set it" if adjusted.before is None else f"has {adjusted.before}"
        print_line(
            f"{adjusted.path}: {adjusted.key} is {adjusted.after}, as in the version; the folder of "
            f"the layout {before}"
        )
    what = "layout" if wanted else "dtype" if dtype else "tau"
    origin = "as recorded" if written.recorded else f"none is recorded for this {what}"
    print_line(f"SHA-256 {written.sha256} ({origin})")
