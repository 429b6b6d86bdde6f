"""The commands `dsvd remote add`, `ls` and `rm`."""

from __future__ import annotations

import click

from .commands import CommandGroup
from .documents import print_document
from .options import common_options, open_registry
from .tables import print_line, print_table, text


@click.group(cls=CommandGroup)
def remote() -> None:
    """Name other registries to exchange versions with.

    A remote is a name for another registry, known in this registry alone.
    """


@remote.command("add")
@click.argument("name")
@click.argument("url")
@common_options
def add(name: str, url: str, as_json: bool) -> None:
    """Name another registry.

    URL is the path of its folder, or its place in a bucket, such as s3://studio/registry. It is kept as
    it is, so a URL with a user, a password or a query is refused.
    """
    with open_registry() as registry:
        found = registry.add_remote(name, url)
    if as_json:
        print_document(found)
        return
    print_line(f"remote {found.name}: {found.url}")


@remote.command("ls")
@common_options
def ls(as_json: bool) -> None:
    """List remotes."""
    with open_registry() as registry:
        found = registry.remotes()
    if as_json:
        print_document(found)
    elif found:
        print_table((text("remote"), text("registry")), ((one.name, one.url) for one in found))
    else:
        click.echo("no remotes yet; `dsvd remote add NAME URL` names one", err=True)


@remote.command("rm")
@click.argument("name")
@common_options
def rm(name: str, as_json: bool) -> None:
    """Forget the name of another registry, which stays as it is."""
    with open_registry() as registry:
        found = registry.remove_remote(name)
    if as_json:
        print_document(found)
        return
    print_line(f"forgot the remote {found.name}, {found.url}")
