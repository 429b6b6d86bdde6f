"""The command `dsvd gc`."""

from __future__ import annotations

import click

from .. import number_format
from ..registry.upkeep.gc import DEFAULT_GRACE_DAYS
from .documents import print_document
from .options import common_options, open_registry
from .tables import print_line


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=DEFAULT_GRACE_DAYS,
    show_default=True,
    help="Keep younger objects, which another process may be about to use.",
)
@common_options
def gc(dry_run: bool, grace: float, as_json: bool) -> None:
    """Remove objects that no version or base needs.

    The temporary files of crashed runs are removed too.
    """
    with open_registry() as registry:
        found = registry.collect_garbage(grace_days=grace, dry_run=dry_run)
    if as_json:
        print_document(found)
        return
    verb = "would remove" if found.dry_run else "removed"
    print_line(
        f"{verb} {number_format.counted(found.objects, 'object')} and"
        f" {number_format.counted(found.temporary_files, 'temporary file')},"
        f" {number_format.size(found.bytes)}"
    )
    if found.kept_young:
        unneeded = number_format.counted(found.kept_young, "unneeded object")
        print_line(f"kept {unneeded} younger than {grace:g} days")
