"""The command `dsvd log`."""

from __future__ import annotations

import click

from .documents import print_document, version_document
from .options import common_options, open_registry
from .versions import print_versions


@click.command()
@click.argument("name")
@common_options
def log(name: str, as_json: bool) -> None:
    """Show every version that a model ever had.

    Removed versions are shown too; their numbers are never used again.
    """
    with open_registry() as registry:
        found = registry.history(name)
    if as_json:
        print_document([version_document(version) for version in found])
        return
    print_versions(found)
