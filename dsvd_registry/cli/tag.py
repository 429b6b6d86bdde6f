"""The commands `dsvd tag add` and `dsvd tag rm`."""

from __future__ import annotations

import click

from ..catalog.records import VersionRecord
from .commands import CommandGroup
from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import print_line


@click.group(cls=CommandGroup)
def tag() -> None:
    """Add and remove tags of versions.

    `dsvd ls --tag TAG` lists the versions that have a tag.
    """


@tag.command("add")
@click.argument("ref")
@click.argument("name", metavar="TAG")
@common_options
def add(ref: str, name: str, as_json: bool) -> None:
    """Add TAG to the version REF."""
    with open_registry() as registry:
        version = registry.add_tag(ref, name)
    _print(version, as_json)


@tag.command("rm")
@click.argument("ref")
@click.argument("name", metavar="TAG")
@common_options
def rm(ref: str, name: str, as_json: bool) -> None:
    """Remove TAG from the version REF."""
    with open_registry() as registry:
        version = registry.remove_tag(ref, name)
    _print(version, as_json)


def _print(version: VersionRecord, as_json: bool) -> None:
    if as_json:
        print_document(version_document(version))
    elif version.tags:
        print_line(f"{version.ref} has the tags {', '.join(version.tags)}")
    else:
        print_line(f"{version.ref} has no tags")
