"""The command `dsvd du`."""

from __future__ import annotations

import click

from .. import number_format
from .documents import print_document
from .options import common_options, open_registry
from .tables import figure, print_line, print_table, text


@click.command()
@common_options
def du(as_json: bool) -> None:
    """Show the bytes of models and bases.

    A container that several models use is counted for each of them, and shown as shared.
    """
    with open_registry() as registry:
        found = registry.usage()
    if as_json:
        print_document(found)
        return
    if found.models:
        titles = ("versions", "size", "shared", "sources", "ratio")
        print_table(
            [text("model"), *map(figure, titles)],
            (
                (
                    model.name,
                    number_format.count(model.versions),
                    number_format.size(model.bytes),
                    number_format.size(model.shared_bytes),
                    number_format.size(model.source_bytes),
                    number_format.ratio(model.bytes, model.source_bytes),
                )
                for model in found.models
            ),
        )
        print_line()
    if found.bases:
        print_table(
            (text("base"), figure("in the registry"), figure("file"), text("", optional=True)),
            (
                (
                    base.name,
                    number_format.size(base.bytes),
                    number_format.size(base.file_bytes),
                    "linked" if base.linked else "",
                )
                for base in found.bases
            ),
        )
        print_line()
    print_line(
        f"{number_format.size(found.total)} in all, {number_format.size(found.reclaimable)} reclaimable"
    )
    if found.quarantined:
        print_line(f"{number_format.size(found.quarantined)} set aside as damaged, in `quarantine`")
