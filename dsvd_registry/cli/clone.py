"""The command `dsvd clone`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import number_format
from ..errors import InvalidArgument
from ..registry import Registry
from .documents import print_document
from .options import catalog_url, common_options, registry_path
from .progress import shown_progress
from .tables import print_line


@click.command()
@click.argument("url")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@common_options
def clone(url: str, folder: Path | None, as_json: bool) -> None:
    """Make a registry with the history of another.

    URL is the path of its folder, or its place in a bucket, such as s3://studio/registry. DIR is a new
    or empty folder; the default is --registry, or the last part of URL, here. The new registry has all
    versions and bases of the other, with their numbers and names, and calls it origin for `dsvd push`
    and `dsvd pull`. A base that is linked there is copied. If the command is stopped, the same command
    goes on.
    """
    named = registry_path()
    if folder is not None and named is not None:
        raise InvalidArgument("both --registry and DIR name the new registry", "Give one of them.")
    place = folder or named or Path(url.rstrip("/").rpartition("/")[2])
    with (
        shown_progress() as progress,
        Registry.clone(url, place, catalog=catalog_url(), progress=progress) as registry,
    ):
        made = registry.folder
        versions, bases = len(registry.versions()), len(registry.bases())
    if as_json:
        print_document({"path": made, "versions": versions, "bases": bases})
        return
    counted = number_format.counted
    print_line(
        f"made a registry in {made}: {counted(versions, 'version')}, {counted(bases, 'base')}"
    )
    print_line("its remote origin is the one that it was made from")
