"""`dsvd add`."""

from __future__ import annotations

from pathlib import Path

import click

from ..registry.asked import DEFAULT_GRID_NOISE, DEFAULT_TAU
from .account import print_account, warn
from .documents import print_document, version_document
from .options import common_options, open_registry
from .progress import shown_progress
from .sizes import SIZE
from .tables import print_line


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--base", required=True, metavar="NAME", help="The base that FILE is a fine-tune of.")
@click.option("--name", help="The model to add a version to. Default: FILE without its ending.")
@click.option(
    "--tau",
    type=float,
    help=f"Share of each layer's change to keep, above 0 and up to 1.  [default: {DEFAULT_TAU}]",
)
@click.option(
    "--max-error",
    type=float,
    help="Instead of tau: the least bytes at this relative error of the whole change, below 1.",
)
@click.option(
    "--budget",
    type=SIZE,
    help="Instead of tau: the least error in this many bytes, such as 20MB.",
)
@click.option(
    "--grid-noise",
    type=float,
    help=f"How much the integer grid may add to the error of tau.  [default: {DEFAULT_GRID_NOISE}]",
)
@click.option(
    "--keep-noise",
    is_flag=True,
    help="Store tau's ranks also where they hold only the rounding of half-precision weights.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="The torch device that finds the spectra, such as cuda.",
)
@click.option("--note", default="", metavar="TEXT", help="A note to keep with the version.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be given again.")
@common_options
def add(
    file: Path,
    base: str,
    name: str | None,
    tau: float | None,
    max_error: float | None,
    budget: int | None,
    grid_noise: float | None,
    keep_noise: bool,
    device: str,
    note: str,
    tags: tuple[str, ...],
    as_json: bool,
) -> None:
    """Store a fine-tuned checkpoint as a delta against its base.

    FILE is a safetensors file or a .ckpt, .pt or .bin of torch; no code from it is run. The same
    file, base and settings again are recognised, and nothing is computed.
    """
    with open_registry() as registry, shown_progress() as progress:
        addition = registry.add(
            file,
            base=base,
            name=name,
            tau=tau,
            max_error=max_error,
            budget=budget,
            grid_noise=grid_noise,
            keep_noise=keep_noise,
            device=device,
            note=note,
            tags=tags,
            progress=progress,
        )
        report = registry.report(addition.ref)
    warn(report)
    if as_json:
        found = {"created": addition.created, "report": report}
        print_document(version_document(addition.version) | found)
        return
    if addition.created:
        print_line(f"added {addition.ref}")
    else:
        print_line(f"{addition.ref} was there already: the same file, base and settings")
    print_account(report)
