"""The options of `dsvd push` and `dsvd pull`, and how they print what was exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .. import number_format
from ..errors import InvalidArgument
from ..registry import Exchanged
from .documents import print_document
from .tables import print_line

Command = TypeVar("Command", bound=Callable[..., Any])


def exchange_options(command: Command) -> Command:
    """Add REMOTE, REF..., --all and --dry-run to a command."""
    for option in (
        click.option(
            "--dry-run", is_flag=True, help="Show what would be copied, and copy nothing."
        ),
        click.option("--all", "everything", is_flag=True, help="Copy all versions."),
        click.argument("refs", metavar="[REF]...", nargs=-1),
        click.argument("remote", metavar="REMOTE"),
    ):
        command = option(command)
    return command


def chosen(refs: tuple[str, ...], everything: bool) -> tuple[str, ...] | None:
    """The refs that were given, None for --all. Raises `InvalidArgument` for both or neither."""
    if everything == bool(refs):
        given = "both refs and --all were given" if refs else "no version was named"
        raise InvalidArgument(given, "Give refs, or --all for all versions.")
    return None if everything else refs


def print_exchanged(found: Exchanged, where: str, *, as_json: bool) -> None:
    """Print what came to `where`, in words or as JSON."""
    if as_json:
        print_document(found)
        return
    would = "would be " if found.dry_run else ""
    for name in found.bases:
        print_line(f"{would}added to {where}: the base {name}")
    for version in found.changed:
        renamed = "" if version.arrived in (None, version.ref) else f" as {version.arrived}"
        print_line(f"{would}{version.change} in {where}: {version.ref}{renamed}")
    for version in found.versions:
        for alias in version.staying:
            model = version.ref.partition("@")[0]
            print_line(
                f"the alias {model}@{alias} stands for another version in {where}, and stays; "
                f"in the other one it is {version.ref}"
            )
    there = number_format.counted(len(found.versions) - len(found.changed), "version")
    if not found.changed:
        print_line(f"nothing to do: {where} has {there} already")
        return
    objects = number_format.counted(found.objects, "object")
    print_line(f"{would}copied: {objects}, {number_format.size(found.bytes)}")
    if len(found.changed) < len(found.versions):
        print_line(f"in {where} already: {there}")
