"""The commands `dsvd catalog rebuild` and `dsvd catalog backup`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import number_format
from ..registry import Registry
from .commands import CommandGroup
from .documents import print_document
from .options import catalog_url, common_options, open_registry, registry_path
from .tables import print_line


@click.group(cls=CommandGroup)
def catalog() -> None:
    """Rebuild or copy the catalog."""


@catalog.command("rebuild")
@common_options
def rebuild(as_json: bool) -> None:
    """Rebuild a lost or damaged catalog from the event log."""
    found = Registry.rebuild_catalog(registry_path(), catalog=catalog_url())
    if as_json:
        print_document(found)
        return
    if found.set_aside is not None:
        print_line(f"the former catalog is kept as {found.set_aside}")
    parts = [
        number_format.counted(found.bases, "base"),
        number_format.counted(found.models, "model"),
        number_format.counted(found.versions, "version"),
        number_format.counted(found.aliases, "alias", "aliases"),
    ]
    print_line(f"rebuilt from {number_format.counted(found.events, 'event')}: {', '.join(parts)}")


@catalog.command("backup")
@click.argument("output", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@common_options
def backup(output: Path | None, force: bool, as_json: bool) -> None:
    """Copy the catalog while it is in use.

    The default FILE is catalog.sqlite.backup in the registry's folder, which is replaced.
    """
    with open_registry() as registry:
        copy = registry.backup_catalog(output, replace=force)
    if as_json:
        print_document({"path": copy})
        return
    print_line(f"copied the catalog to {copy}")
