"""The command `dsvd push`."""

from __future__ import annotations

import click

from .exchanged import chosen, exchange_options, print_exchanged
from .options import common_options, open_registry
from .progress import shown_progress


@click.command()
@exchange_options
@common_options
def push(
    remote: str, refs: tuple[str, ...], everything: bool, dry_run: bool, as_json: bool
) -> None:
    """Copy versions to another registry.

    REMOTE is a name that `dsvd remote add` gave it. The versions go with their residuals, originals,
    signatures, metadata, attachments, notes, tags and aliases, and with the bases that they need; only
    what is missing there is copied. A version that is there already is recognised by its container, and
    gets what it lacks; a new one becomes the next of its model, so its number may differ. What was
    removed is not removed there. If the command is stopped, the same command goes on.
    """
    with open_registry() as registry, shown_progress() as progress:
        found = registry.push(remote, chosen(refs, everything), dry_run=dry_run, progress=progress)
    print_exchanged(found, remote, as_json=as_json)
