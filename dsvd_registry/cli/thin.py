"""The command `dsvd thin`."""

from __future__ import annotations

import click

from .. import number_format
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

    That is its residual or, of a LoRA, the file itself. The version is lossy afterwards: only its
    container stays, and the exact file that was added cannot be restored from it. `dsvd gc` then frees
    the bytes. Adding the source again with --lossless makes the version lossless again.
    """
    with open_registry() as registry:
        version = registry.version(ref)
        if version.is_lossless:
            part = "residual" if version.residual is not None else "LoRA file"
            error = number_format.relative(float(version.summary.get("error", 0)))
            click.echo(
                f"warning: {version.ref} restores its source to the bit (SHA-256 "
                f"{version.source.sha256}).\nWithout its {part} its relative error is {error}, and "
                "only that source can make it lossless again.",
                err=True,
            )
            if not yes and not is_confirmed(f"Drop the {part} of {version.ref}?"):
                click.echo("nothing was dropped", err=True)
                return
        thinned = registry.thin(version.ref)
    if as_json:
        freed = {"freed_bytes": thinned.freed_bytes}
        print_document(version_document(thinned.version) | freed)
        return
    print_line(
        f"{version.ref} is lossy now; `dsvd gc` frees {number_format.size(thinned.freed_bytes)}"
    )
