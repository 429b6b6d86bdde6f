"""The command `dsvd find`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..errors import NotFound
from ..registry import Found, Match, Sought
from .documents import print_document, version_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import print_table, text

SHOWN = 20  # matches of one digest


@click.command()
@click.argument("what", metavar="DIGEST|FILE")
@common_options
def find(what: str, as_json: bool) -> None:
    """Find versions by a digest, a file or a picture.

    DIGEST: SHA-256, AutoV1, AutoV2, AutoV3, BLAKE3 or CRC32, or the first 8 digits or more. FILE: a
    checkpoint or a LoRA file, or a picture (PNG, JPEG, WEBP) as A1111, Forge and ComfyUI save it.
    """
    with open_registry() as registry, shown_progress() as progress:
        found = registry.find(what, progress=progress)
    if not found.matches:
        raise _nothing(found)
    if as_json:
        print_document(_document(found))
        return
    print_table(
        (text("made with", optional=True), text("found"), text("by")),
        [row for sought in found.sought for row in _rows(sought, found.kind == "picture")],
    )


def _rows(sought: Sought, is_of_picture: bool) -> Iterator[tuple[str, str, str]]:
    what = described(sought) if is_of_picture else ""
    if not sought.matches:
        yield what, "-", "not known here"
    for match in sought.matches[:SHOWN]:
        yield what, match.name, _reason(match)
        what = ""
    if (more := len(sought.matches) - SHOWN) > 0:
        yield what, "...", f"{more} more"


def described(sought: Sought) -> str:
    """The words for a model that a picture names: "lora style 0011223344ff"."""
    return " ".join(filter(None, (sought.role, sought.name, sought.digest)))


def _reason(match: Match) -> str:
    what = f"base's {match.of}" if match.base is not None else match.of
    if match.by == "name":
        return f"name of the {match.of}{_place(match)}"
    return f"{match.by} of the {what}{_place(match)}"


def _place(match: Match) -> str:
    return f", {match.path}" if match.path else ""


def _nothing(found: Found) -> NotFound:
    if found.kind == "picture":
        names = "; ".join(described(one) for one in found.sought[:SHOWN])
        return NotFound(
            f"{found.what} was made with what is not known here: {names}",
            "`dsvd add` the file that it was made with, or look in another registry.",
        )
    (sought,) = found.sought
    return NotFound(
        f"no version or base has the digest {sought.digest}",
        "Known are the digests of sources and of results at the stored tau; not those of another tau,"
        " dtype or layout, nor of a LoRA that was exported.",
    )


def _document(found: Found) -> dict[str, Any]:
    return {
        "what": found.what,
        "kind": found.kind,
        "sought": [
            {
                "role": one.role,
                "name": one.name,
                "digest": one.digest,
                "matches": [_match_document(match) for match in one.matches],
            }
            for one in found.sought
        ],
    }


def _match_document(match: Match) -> dict[str, Any]:
    return {
        "version": None if match.version is None else version_document(match.version),
        "base": match.base,
        "by": match.by,
        "of": match.of,
        "path": match.path,
    }
