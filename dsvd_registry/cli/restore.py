"""The command `dsvd restore`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import number_format
from ..registry import RestoredFile
from .attachments import print_written
from .documents import plain, print_document
from .options import common_options, open_registry
from .printable_text import printable
from .progress import shown_progress
from .tables import figure, print_line, print_table, text

OUTCOMES = {"restored": "restored", "there": "was there", "refused": "refused"}


@click.command()
@click.argument("where", metavar="REF|PATH")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Restore one file to this path.",
)
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
@common_options
@click.pass_context
def restore(
    ctx: click.Context, where: str, output: Path | None, force: bool, as_json: bool
) -> None:
    """Put archived files back where they were.

    PATH is an archived file, or a folder: all that was archived below it is put back, byte for byte,
    with times and permissions, in the place of nothing or of the link that `dsvd archive` left. With
    -o, a lossless version of which no file was archived is written too: of a LoRA, the LoRA file.
    """
    with open_registry() as registry, shown_progress() as progress:
        found = registry.restore(where, output, replace=force, progress=progress)
    if as_json:
        print_document(plain(found) | {"exit_code": found.exit_code})
        ctx.exit(found.exit_code)
    columns = (text("outcome"), text("version"), figure("size", optional=True), text("file"))
    print_table(columns, map(_cells, found.files))
    for file in found.files:
        if file.error:
            print_line(f"{printable(file.error)}\n  hint: {file.hint}")
            continue
        print_written(file.beside)
        if not file.is_exact:
            print_line(
                f"{printable(str(file.path))} is what the lossy version gives, not the file that was "
                "archived"
            )
    ctx.exit(found.exit_code)


def _cells(file: RestoredFile) -> tuple[str, ...]:
    return (
        OUTCOMES[file.outcome],
        file.ref,
        number_format.size(file.size) if not file.error else "",
        printable(str(file.path)),
    )
