"""The command `dsvd attach`."""

from __future__ import annotations

from pathlib import Path

import click

from ..registry import AttachmentRole
from .attachments import attachment_document, print_attachments
from .documents import print_document
from .options import common_options, open_registry


@click.command()
@click.argument("ref")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--as",
    "role",
    type=click.Choice(["preview", "sample", "note", "sidecar", "report"]),
    help="What each FILE is; a sidecar is a file that tools read beside a checkpoint, a report the page"
    " of `dsvd evaluate`.  [default: the preview for the first picture, a sample for others, a report"
    " for *.html, a sidecar for *.civitai.info, *.cm-info.json and *.metadata.json, a note for another"
    " text]",
)
@common_options
def attach(ref: str, files: tuple[Path, ...], role: AttachmentRole | None, as_json: bool) -> None:
    """Attach pictures and texts to a version.

    A FILE is a PNG, JPEG or WebP picture, or a text in UTF-8. It is kept as it is, under its own name
    in ASCII; a picture is decoded once, to see that it is one.
    """
    with open_registry() as registry:
        attached = [registry.attach(ref, file, role=role) for file in files]
    if as_json:
        print_document({"attachments": list(map(attachment_document, attached))})
        return
    print_attachments(attached)
