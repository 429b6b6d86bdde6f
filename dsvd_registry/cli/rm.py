"""`dsvd rm`."""

from __future__ import annotations

import sys

import click

from ..errors import InvalidArgument
from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import print_line


@click.command()
@click.argument("ref")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def rm(ref: str, yes: bool, as_json: bool) -> None:
    """Remove a version.

    Its number is not used again. `dsvd gc` gives its bytes back.
    """
    with open_registry() as registry:
        version = registry.version(ref)
        if not yes and not _is_confirmed(version.ref):
            click.echo("nothing was removed", err=True)
            return
        version = registry.remove(version.ref)
    if as_json:
        print_document(version_document(version))
        return
    print_line(f"removed {version.ref}")


def _is_confirmed(ref: str) -> bool:
    if not sys.stdin.isatty():
        raise InvalidArgument(
            f"{ref} is not removed unasked, and there is no terminal to ask on",
            "Give --yes to remove it.",
        )
    return click.confirm(f"Remove {ref}?", err=True)
