"""The command `dsvd note`."""

from __future__ import annotations

import sys

import click

from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import print_line


@click.command()
@click.argument("ref")
@click.argument("text")
@common_options
def note(ref: str, text: str, as_json: bool) -> None:
    """Replace the note of a version.

    With the TEXT '-' the note is read from stdin; an empty TEXT removes it.
    """
    if text == "-":
        text = sys.stdin.read().rstrip("\n")
    with open_registry() as registry:
        version = registry.set_note(ref, text)
    if as_json:
        print_document(version_document(version))
        return
    print_line(f"{version.ref} has {'a new note' if version.note else 'no note'}")
