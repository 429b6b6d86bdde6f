"""The commands `dsvd alias set` and `dsvd alias rm`."""

from __future__ import annotations

import click

from ..errors import InvalidArgument
from .commands import CommandGroup
from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import print_line


@click.group(cls=CommandGroup)
def alias() -> None:
    """Set and remove aliases of versions.

    An alias such as prod can be moved from one version of a model to another; latest is always the
    newest version.
    """


@alias.command("set")
@click.argument("name", metavar="ALIAS")
@click.argument("ref")
@common_options
def set_(name: str, ref: str, as_json: bool) -> None:
    """Set an alias for a version, or move it from another version.

    After dsvd alias set prod subject-42@3, subject-42@prod is a ref for that version.
    """
    with open_registry() as registry:
        version = registry.set_alias(name, ref)
    if as_json:
        print_document(version_document(version))
        return
    print_line(f"{version.model}@{name} is now {version.ref}")


@alias.command("rm")
@click.argument("ref", metavar="NAME@ALIAS")
@common_options
def rm(ref: str, as_json: bool) -> None:
    """Remove an alias; the version stays."""
    model, _, name = ref.partition("@")
    if not name:
        raise InvalidArgument(f"{ref!r} has no alias", "Write it as subject-42@prod.")
    with open_registry() as registry:
        version = registry.remove_alias(model, name)
    if as_json:
        print_document(version_document(version))
        return
    print_line(f"removed {ref}; it stood for {version.ref}")
