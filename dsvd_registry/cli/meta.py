"""The commands `dsvd meta set`, `dsvd meta get` and `dsvd meta rm`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..errors import InvalidArgument, NotFound
from .commands import CommandGroup
from .documents import print_document
from .options import common_options, open_registry
from .tables import print_fields, print_line


@click.group(cls=CommandGroup)
def meta() -> None:
    """Set, show and remove metadata of versions.

    Metadata are keys with texts: the trigger word, the licence, the settings of the training. The key
    `trigger` is the word that makes the subject appear.
    """


@meta.command("set")
@click.argument("ref")
@click.argument("entries", metavar="KEY=VALUE...", nargs=-1, required=True)
@common_options
def set_(ref: str, entries: tuple[str, ...], as_json: bool) -> None:
    """Set each KEY of the version REF to its VALUE; other keys stay."""
    given = parsed_entries(entries)
    with open_registry() as registry:
        found = registry.set_metadata(ref, given)
        named = registry.version(ref).ref
    _print(named, found, as_json)


@meta.command("get")
@click.argument("ref")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@common_options
def get(ref: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Show the metadata of the version REF, or the given KEYs of it.

    One KEY alone is printed without its name.
    """
    with open_registry() as registry:
        found = registry.metadata(ref)
        named = registry.version(ref).ref
    for key in keys:
        if key not in found:
            raise NotFound(f"{named} has no metadata {key!r}", f"`dsvd meta get {named}` shows it.")
    shown = {key: found[key] for key in keys} if keys else found
    if len(keys) == 1 and not as_json:
        for line in shown[keys[0]].splitlines():
            print_line(line)
        return
    _print(named, shown, as_json)


@meta.command("rm")
@click.argument("ref")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@common_options
def rm(ref: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Remove each KEY from the metadata of the version REF."""
    with open_registry() as registry:
        found: Mapping[str, str] = {}
        for key in keys:
            found = registry.remove_metadata(ref, key)
        named = registry.version(ref).ref
    _print(named, found, as_json)


def parsed_entries(entries: tuple[str, ...]) -> dict[str, str]:
    """The keys and values of words such as "trigger=sks dog". Raises `InvalidArgument`."""
    found: dict[str, str] = {}
    for entry in entries:
        key, sign, value = entry.partition("=")
        if not sign:
            raise InvalidArgument(f"{entry[:80]!r} has no =", "Write it as KEY=VALUE.")
        if key in found:
            raise InvalidArgument(f"the key {key!r} is given twice", "Give it once.")
        found[key] = value
    return found


def _print(ref: str, metadata: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        print_document({"ref": ref, "metadata": dict(metadata)})
    elif metadata:
        print_fields((key, value or '""') for key, value in metadata.items())
    else:
        print_line(f"{ref} has no metadata")
