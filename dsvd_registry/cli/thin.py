"""`dsvd thin`."""

from __future__ import annotations

import click

from . import number_format
from .confirm import is_confirmed
from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import print_line


@click.command()
@click.argument("ref")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def thin(ref: str, yes: bool, as_json: bool) -> None:
    """Drop what makes a version lossless.

    The file that was added cannot be had from it any more; what its container alone gives remains.
    `dsvd gc` gives the bytes back. Adding the source again with --lossless undoes it.
    """
    with open_registry() as registry:
        version = registry.version(ref)
        if version.residual is not None:
            error = number_format.relative(float(version.summary.get("error", 0)))
            click.echo(
                f"warning: {version.ref} gives back all that was added, to the bit (its source has the "
                f"SHA-256 {version.source.sha256}).\nWithout its residual it is off by {error} of its "
                "change to the base, and only that source can mend it.",
                err=True,
            )
            if not yes and not is_confirmed(f"Drop the residual of {version.ref}?"):
                click.echo("nothing was dropped", err=True)
                return
        thinned = registry.thin(version.ref)
    if as_json:
        freed = {"freed_bytes": thinned.freed_bytes}
        print_document(version_document(thinned.version) | freed)
        return
    print_line(
        f"{version.ref} is lossy now; `dsvd gc` gives back {number_format.size(thinned.freed_bytes)}"
    )
