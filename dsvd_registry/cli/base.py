"""The commands `dsvd base add`, `ls`, `show` and `rm`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import number_format
from ..catalog.records import BaseRecord
from .commands import CommandGroup
from .documents import plain, print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import figure, print_fields, print_line, print_table, text

DIGEST_SHOWN = 12


@click.group(cls=CommandGroup)
def base() -> None:
    """Add, list, show and remove bases.

    A base is a full checkpoint to which versions are stored as deltas. It is identified by its
    weights; the name is for people.
    """


@base.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--link", is_flag=True, help="Leave the file where it is, instead of copying it.")
@click.option(
    "--weights",
    metavar="ENTRY",
    help="The entry to use of a torch file that has several, such as ema; it is stored alone.",
)
@click.option(
    "--keep-extras",
    is_flag=True,
    help="Keep the files of a folder that do not belong to its model: other weights, exports, the"
    " state of a training.",
)
@common_options
def add(
    name: str, file: Path, link: bool, weights: str | None, keep_extras: bool, as_json: bool
) -> None:
    """Register a full checkpoint as a base.

    FILE is a safetensors file, a .ckpt, .pt or .bin file of torch, or a folder of diffusers; no code
    from it is run.
    """
    with open_registry() as registry, shown_progress() as progress:
        found = registry.add_base(
            name, file, link=link, weights=weights, keep_extras=keep_extras, progress=progress
        )
        left_out = registry.left_out(file, keep_extras=keep_extras)
    if as_json:
        print_document(plain(found) | {"left_out": plain(left_out)})
        return
    from .account import print_some  # imports numpy, which the other commands do not need

    where = f"linked to {found.link}" if found.link else "copied into the registry"
    print_line(f"base {found.name}: {number_format.size(found.size)}, {where}")
    print_line(f"digest {found.digest}")
    print_some("left out", [f"{entry.name}: {entry.reason}" for entry in left_out])


@base.command("ls")
@common_options
def ls(as_json: bool) -> None:
    """List bases."""
    with open_registry() as registry:
        found = registry.bases()
    if as_json:
        print_document(found)
    elif found:
        columns = (
            text("base"),
            text("digest"),
            text("format"),
            figure("size"),
            text("added"),
            text("linked to", optional=True),
        )
        print_table(columns, map(_cells, found))
    else:
        click.echo("no bases yet; `dsvd base add NAME FILE` adds one", err=True)


@base.command("show")
@click.argument("name")
@common_options
def show(name: str, as_json: bool) -> None:
    """Show a base and its tensors.

    NAME is the base's name or the start of its digest.
    """
    with open_registry() as registry:
        found, tensors = registry.base(name), registry.base_tensors(name)
    if as_json:
        fields = ("name", "dtype", "shape", "sha256")
        rows = [dict(zip(fields, tensor, strict=True)) for tensor in tensors]
        print_document(plain(found) | {"tensors": rows})
        return
    print_fields(
        (
            ("base", found.name),
            ("digest", found.digest),
            ("file", f"{found.format}, {number_format.size(found.size)}, SHA-256 {found.file}"),
            ("linked to", str(found.link or "")),
            ("added", number_format.moment(found.added)),
            ("tensors", number_format.count(len(tensors))),
        )
    )
    print_line()
    print_table(
        (text("SHA-256"), text("dtype"), text("shape"), text("tensor")),
        (
            (sha256[:DIGEST_SHOWN], dtype, "x".join(map(str, shape)), tensor)
            for tensor, dtype, shape, sha256 in tensors
        ),
    )


@base.command("rm")
@click.argument("name")
@common_options
def rm(name: str, as_json: bool) -> None:
    """Remove a base that no version needs.

    `dsvd gc` then frees its bytes.
    """
    with open_registry() as registry:
        found = registry.remove_base(name)
    if as_json:
        print_document(found)
        return
    print_line(f"removed the base {found.name}")


def _cells(found: BaseRecord) -> tuple[str, ...]:
    return (
        found.name,
        found.digest[:DIGEST_SHOWN],
        found.format,
        number_format.size(found.size),
        number_format.moment(found.added),
        str(found.link or ""),
    )
