"""The command `dsvd attachments`, and how attachments are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import number_format
from ..catalog.records import AttachmentRecord
from .documents import plain, print_document
from .options import common_options, open_registry
from .tables import figure, print_fields, print_line, print_table, text

if TYPE_CHECKING:  # numpy, which listing attachments need not wait for
    from ..registry.describing.taken_in import TakenIn

SHOWN = 80  # characters of a value; `dsvd meta get` shows all of them


@click.command()
@click.argument("ref")
@click.option(
    "--beside",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the preview and the sidecars beside FILE, a checkpoint, as tools look for them.",
)
@click.option("--force", is_flag=True, help="With --beside: replace files that are there.")
@common_options
def attachments(ref: str, beside: Path | None, force: bool, as_json: bool) -> None:
    """List the attachments of a version."""
    written: tuple[Path, ...] = ()
    with open_registry() as registry:
        found = registry.attachments(ref)
        named = registry.version(ref).ref
        if beside is not None:
            written = registry.write_beside(named, beside, replace=force)
    if as_json:
        listed = list(map(attachment_document, found))
        print_document({"ref": named, "attachments": listed, "written": list(map(str, written))})
        return
    if found:
        print_attachments(found)
    else:
        print_line(f"{named} has no attachments")
    print_written(written)


def print_written(written: Sequence[Path]) -> None:
    """Print the files that were written beside a checkpoint."""
    for path in written:
        print_line(f"wrote {path}")


def print_attachments(records: Sequence[AttachmentRecord]) -> None:
    """Print a table with one line per attachment."""
    columns = (text("name"), text("role"), text("type"), figure("size"), text("added"))
    print_table(columns, map(_cells, records))


def print_known(metadata: Mapping[str, str], attachments: Sequence[AttachmentRecord]) -> None:
    """Print the start of each value of a version's metadata, and its attachments, if it has any."""
    if metadata:
        print_fields((key, _start(value)) for key, value in metadata.items())
        print_line()
    if attachments:
        print_attachments(attachments)
        print_line()


def _start(value: str) -> str:
    first = " ".join(value[: 2 * SHOWN].split())
    return f"{first[:SHOWN]} ..." if len(value) > SHOWN else first or '""'


def print_taken_in(taken_in: TakenIn) -> None:
    """Print what an addition took in from the file and from beside it, and what it left out."""
    named = [f"{one.name} ({one.role})" for one in taken_in.attachments]
    if taken_in.keys:
        keys = number_format.counted(len(taken_in.keys), "key")
        named.insert(0, f"{keys} of metadata")
    if named:
        print_line(f"taken in: {', '.join(named)}")
    for one in taken_in.left_out:
        print_line(f"not taken in: {one.name}: {one.reason}")


def attachment_document(record: AttachmentRecord) -> dict[str, Any]:
    """An attachment as JSON."""
    found: dict[str, Any] = plain(record)
    return found


def _cells(record: AttachmentRecord) -> tuple[str, ...]:
    return (
        record.name,
        record.role,
        record.media_type,
        number_format.size(record.size),
        number_format.moment(record.added),
    )
