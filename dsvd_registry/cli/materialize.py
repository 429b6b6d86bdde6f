"""`dsvd materialize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import figures
from .documents import print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import print_line

if TYPE_CHECKING:
    from ..reconstruction.casting import CastDtype


@click.command()
@click.argument("ref")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write. Default: NAME.safetensors in the current folder.",
)
@click.option("--tau", type=float, help="A lower tau than the version was stored with.")
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Cast the exact result. Default: the dtypes of the fine-tune.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@common_options
def materialize(
    ref: str,
    output: Path | None,
    tau: float | None,
    dtype: CastDtype | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the full checkpoint of a version.

    The result is a safetensors file, the same bytes on every machine.
    """
    with open_registry() as registry, shown_progress() as progress:
        version = registry.version(ref)
        target = output or Path(f"{version.model}.safetensors")
        written = registry.materialize(
            version.ref, target, tau=tau, dtype=dtype, replace=force, progress=progress
        )
    if as_json:
        print_document({"ref": version.ref, "written": written})
        return
    print_line(
        f"wrote {written.path}: {version.ref} at tau {written.tau:g}, {figures.size(written.size)}"
    )
    what = "dtype" if dtype else "tau"
    origin = "as recorded" if written.recorded else f"none is recorded for this {what}"
    print_line(f"SHA-256 {written.sha256} ({origin})")
