"""The command `dsvd detach`."""

from __future__ import annotations

import click

from .attachments import attachment_document
from .documents import print_document
from .options import common_options, open_registry
from .tables import print_line


@click.command()
@click.argument("ref")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
def detach(ref: str, names: tuple[str, ...], as_json: bool) -> None:
    """Remove attachments of a version.

    `dsvd gc` removes their bytes later.
    """
    with open_registry() as registry:
        detached = [registry.detach(ref, name) for name in names]
    if as_json:
        print_document({"detached": list(map(attachment_document, detached))})
        return
    for one in detached:
        print_line(f"removed {one.name} from {one.model}@{one.number}")
