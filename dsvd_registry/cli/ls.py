"""The command `dsvd ls`."""

from __future__ import annotations

from datetime import datetime

import click

from . import options
from .documents import print_document, version_document
from .options import common_options, open_registry
from .versions import print_versions


@click.command()
@click.argument("pattern", required=False)
@click.option("--base", metavar="NAME", help="Only fine-tunes of this base.")
@click.option("--tag", metavar="TAG", help="Only versions with this tag.")
@click.option(
    "--since",
    metavar="WHEN",
    callback=options.since,
    help="Only versions added since a date (2026-01-31) or an age (12h, 7d, 2w).",
)
@common_options
def ls(
    pattern: str | None, base: str | None, tag: str | None, since: datetime | None, as_json: bool
) -> None:
    """List versions.

    PATTERN is the name of a model, or a shell pattern such as 'subject-*'.
    """
    with open_registry() as registry:
        found = registry.versions(pattern, base=base, tag=tag, since=since)
    if as_json:
        print_document([version_document(version) for version in found])
    elif found:
        print_versions(found)
    elif pattern or base or tag or since:
        click.echo("no version matches", err=True)
    else:
        click.echo("no versions yet; `dsvd add FILE --base NAME` adds one", err=True)
