"""The command `dsvd import`."""

from __future__ import annotations

from pathlib import Path

import click

from .account import print_account, warn
from .attachments import print_taken_in
from .documents import print_document, version_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import print_line
from .versions import print_lossless


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="The model to add a version to.  [default: FILE without its ending]")
@click.option("--note", default="", metavar="TEXT", help="A note on the version.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag; may be repeated.")
@common_options
def import_(file: Path, name: str | None, note: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Add a version from a .dsvd file.

    The registry must have its base. Everything that `dsvd verify --deep` checks is checked before
    anything is stored. The signatures in FILE.sig, the residual in the .dsvdr file, the LoRA in the
    .dsvdo file, and the metadata and attachments in the .dsvdm file of the same folder are checked and
    imported too, if they exist. A file that is a version already is recognised.
    """
    with open_registry() as registry, shown_progress() as progress:
        addition = registry.import_container(
            file, name=name, note=note, tags=tags, progress=progress
        )
        report = registry.report(addition.ref)
        signers = registry.signers(addition.ref)
    warn(report)
    if as_json:
        found = {"created": addition.created, "signers": signers, "report": report}
        found["taken_in"] = addition.taken_in
        print_document(version_document(addition.version) | found)
        return
    if addition.created:
        print_line(f"imported {addition.ref}, against the base {addition.version.base_name}")
    else:
        print_line(f"{addition.ref} was there already: the same container")
    print_lossless(addition.version)
    for signer in signers:
        print_line(f"signed by {signer.fingerprint}")
    print_taken_in(addition.taken_in)
    print_account(report)
