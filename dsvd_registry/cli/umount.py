"""The command `dsvd umount`."""

from __future__ import annotations

from pathlib import Path

import click

from .documents import print_document
from .options import common_options
from .tables import print_line


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@common_options
def umount(folder: Path, as_json: bool) -> None:
    """End a mount, and clear one whose program was killed."""
    from .. import mount as mounts

    was_alive = mounts.unmount(folder)
    if as_json:
        print_document({"folder": folder, "was_alive": was_alive})
        return
    print_line(f"unmounted {folder}" + ("" if was_alive else ", whose program was gone already"))
