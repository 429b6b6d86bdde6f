"""`dsvd add`."""

from __future__ import annotations

from pathlib import Path

import click

from ..registry.registry import DEFAULT_GRID_NOISE, DEFAULT_TAU
from .account import print_account, warn
from .documents import print_document, version_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import print_line


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--base", required=True, metavar="NAME", help="The base that FILE is a fine-tune of.")
@click.option("--name", help="The model to add a version to. Default: FILE without its ending.")
@click.option(
    "--tau",
    type=float,
    default=DEFAULT_TAU,
    show_default=True,
    help="Share of each layer's change to keep, above 0 and up to 1.",
)
@click.option(
    "--grid-noise",
    type=float,
    default=DEFAULT_GRID_NOISE,
    show_default=True,
    help="How much the integer grid may add to the error.",
)
@click.option("--note", default="", metavar="TEXT", help="A note to keep with the version.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be given again.")
@common_options
def add(
    file: Path,
    base: str,
    name: str | None,
    tau: float,
    grid_noise: float,
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
            grid_noise=grid_noise,
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
