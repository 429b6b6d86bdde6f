"""The command `dsvd cat`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import click

from ..errors import InvalidArgument
from .documents import print_document
from .options import common_options, form_options, open_registry
from .progress import shown_progress

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype
    from ..reconstruction.target_layout import LayoutName

CHUNK = 4 << 20


@click.command()
@click.argument("ref")
@click.option("--file", "path", metavar="PATH", help="The file, if the version is a folder.")
@form_options
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The number of the first byte.",
)
@click.option(
    "--size",
    type=click.IntRange(min=0),
    help="The number of bytes.  [default: all up to the end]",
)
@common_options
def cat(
    ref: str,
    path: str | None,
    tau: float | None,
    dtype: FloatDtype | None,
    layout: LayoutName | Literal["as-added"],
    like: str | None,
    offset: int,
    size: int | None,
    as_json: bool,
) -> None:
    """Write the bytes of a full checkpoint to standard output.

    Only the bytes that are asked for are made, and each is checked. With --json the files of the full
    checkpoint are listed instead: path, size and, if one is recorded, SHA-256.
    """
    wanted = None if layout == "as-added" else layout
    with open_registry() as registry:
        version = registry.version(ref)
        if as_json:
            files = registry.result_files(
                version.ref, tau=tau, dtype=dtype, layout=wanted, like=like
            )
            print_document({"ref": version.ref, "files": files})
            return
        if sys.stdout.isatty():
            raise InvalidArgument(
                "the bytes of a checkpoint are not for a terminal",
                f"Write them to a file, or to another program: `dsvd cat {ref} > FILE`.",
            )
        with (
            registry.open_result(
                version.ref, path, tau=tau, dtype=dtype, layout=wanted, like=like
            ) as file,
            shown_progress() as progress,
        ):
            file.seek(min(offset, file.size))
            total = file.size - file.tell() if size is None else min(size, file.size - file.tell())
            left = total
            while left:
                chunk = file.read(min(left, CHUNK))
                sys.stdout.buffer.write(chunk)
                left -= len(chunk)
                progress("writing", total - left, total)
            sys.stdout.buffer.flush()
