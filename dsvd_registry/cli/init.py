"""The command `dsvd init`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InvalidArgument
from ..registry import Registry
from .documents import print_document
from .options import catalog_url, common_options, registry_path
from .registry_place import RegistryPlace
from .tables import print_line


@click.command()
@click.argument("path", required=False, type=RegistryPlace())
@common_options
def init(path: Path | str | None, as_json: bool) -> None:
    """Make a registry.

    PATH is a new or empty folder, or a place in a bucket, such as s3://studio/registry; the default is
    --registry, DSVD_REGISTRY, or the user's data folder. A folder named .dsvd is found from the folder
    around it and from all folders below that.
    """
    named = registry_path()
    if path is not None and named is not None:
        raise InvalidArgument("both --registry and PATH name the new registry", "Give one of them.")
    with Registry.init(path or named, catalog=catalog_url()) as registry:
        made = registry.name
    if as_json:
        print_document({"path": made})
        return
    print_line(f"made a registry in {made}")
    print_line("add a base to it: dsvd base add NAME FILE")
