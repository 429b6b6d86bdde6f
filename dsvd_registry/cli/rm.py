"""The command `dsvd rm`."""

from __future__ import annotations

import click

from .confirm import is_confirmed
from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import print_line


@click.command()
@click.argument("ref")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def rm(ref: str, yes: bool, as_json: bool) -> None:
    """Remove a version.

    Its number is not used again. `dsvd gc` then frees its bytes.
    """
    with open_registry() as registry:
        version = registry.version(ref)
        if not yes and not is_confirmed(f"Remove {version.ref}?"):
            click.echo("nothing was removed", err=True)
            return
        version = registry.remove_version(version.ref)
    if as_json:
        print_document(version_document(version))
        return
    print_line(f"removed {version.ref}")
