"""The command `dsvd pull`."""

from __future__ import annotations

import click

from .exchanged import chosen, exchange_options, print_exchanged
from .options import common_options, open_registry
from .progress import shown_progress


@click.command()
@exchange_options
@common_options
def pull(
    remote: str, refs: tuple[str, ...], everything: bool, dry_run: bool, as_json: bool
) -> None:
    """Copy versions from another registry.

    REMOTE is a name that `dsvd remote add` gave it, and each REF means a version there. All else is as
    for `dsvd push`, the other way round.
    """
    with open_registry() as registry, shown_progress() as progress:
        found = registry.pull(remote, chosen(refs, everything), dry_run=dry_run, progress=progress)
    print_exchanged(found, "this registry", as_json=as_json)
