"""The command `dsvd mount`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .documents import print_document
from .options import catalog_url, common_options, open_registry
from .tables import print_line

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--tau", type=float, help="Give every version at this tau; leave out those without it."
)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Cast every result.  [default: the dtypes of the fine-tunes]",
)
@click.option("--only", "pattern", metavar="PATTERN", help="Only models of these names, as for ls.")
@click.option("--foreground", is_flag=True, help="Stay until unmounted; write the log to stderr.")
@common_options
def mount(
    folder: Path,
    tau: float | None,
    dtype: FloatDtype | None,
    pattern: str | None,
    foreground: bool,
    as_json: bool,
) -> None:
    """Show the registry as a read-only folder of checkpoints.

    DIR is an empty folder. It then has every version as an ordinary file, of which only the bytes
    that are read are made: checkpoints/NAME.safetensors, NAME@3.safetensors, NAME@ALIAS.safetensors,
    folders in diffusers/, and LoRA files in loras/. `dsvd umount DIR` ends it. Needs Linux and FUSE 3.
    """
    from .. import mount as mounts
    from ..tau import checked_tau

    with open_registry() as registry:
        root = registry.name
    tau = None if tau is None else checked_tau(tau)
    options = mounts.MountOptions(
        str(root), catalog_url(), str(folder.absolute()), tau, dtype, pattern
    )

    def tell(log: Path | None) -> None:
        if as_json:
            print_document({"folder": folder, "registry": root, "log": log})
            return
        print_line(f"mounted {root} at {folder}")
        print_line(f"end it with `dsvd umount {folder}`")
        if log is not None:
            print_line(f"log: {log}")

    if foreground:
        mounts.serve(options, lambda: tell(None))
    else:
        tell(mounts.start(options))
