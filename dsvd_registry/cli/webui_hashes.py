"""The command `dsvd webui-hashes`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import number_format
from .documents import print_document
from .options import common_options, open_registry
from .tables import print_line


@click.command("webui-hashes")
@click.argument("webui", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--below",
    metavar="PATH",
    default="",
    help="Where the mounted checkpoints lie below the web UI's folder of checkpoints.",
)
@click.option("--only", "pattern", metavar="PATTERN", help="Only models of these names, as for ls.")
@common_options
def webui_hashes(webui: Path, below: str, pattern: str | None, as_json: bool) -> None:
    """Tell A1111 or Forge the SHA-256 of mounted checkpoints.

    DIR is the folder of the web UI, in which it keeps `cache`. A checkpoint in a mount of the
    registry then has its hash at once: the web UI does not read the file to find it.
    """
    from ..mount.webui_hashes import fill_webui_hashes

    with open_registry() as registry:
        filled = fill_webui_hashes(registry, webui, below, pattern)
    if as_json:
        print_document(filled)
    else:
        print_line(f"{number_format.counted(filled.entries, 'checkpoint')} in {filled.cache}")
