"""Printed versions: a table of many, and the fields of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import number_format
from ..catalog.records import VersionRecord
from .documents import settings
from .tables import figure, print_fields, print_line, print_table, text

DIGEST_SHOWN = 12
SHORT_FORM = 10  # digits


def print_versions(versions: Sequence[VersionRecord]) -> None:
    """Print a table with one line per version."""
    columns = (
        text("version"),
        text("aliases", optional=True),
        text("base"),
        text("fidelity"),
        figure("size"),
        figure("source"),
        figure("error"),
        text("added"),
        text("removed", optional=True),
        text("tags", optional=True),
        text("note", optional=True),
    )
    print_table(columns, map(_cells, versions))


def print_version(version: VersionRecord, signers: Sequence[str]) -> None:
    """Print everything that the catalog knows of a version."""
    source = version.source
    is_file = source.format not in ("diffusers", "merge")
    print_fields(
        (
            ("version", version.ref),
            ("aliases", ", ".join(version.aliases)),
            ("base", f"{base_name(version)} ({version.base})"),
            (
                "source",
                f"{source.format}, {number_format.size(source.size)}, SHA-256 {source.sha256}",
            ),
            ("merged from", merged_from(version)),
            ("AutoV2", short_form(source.sha256) if is_file else ""),
            ("container", f"{number_format.size(version.size)}, SHA-256 {version.container}"),
            ("lossless", _lossless(version)),
            ("added", number_format.moment(version.added)),
            ("tags", ", ".join(version.tags)),
            ("note", version.note),
            ("signed by", ", ".join(signers)),
        )
    )


def print_lossless(version: VersionRecord) -> None:
    """Print the size of a lossless version; nothing for a lossy one."""
    if version.is_lossless:
        print_line(f"lossless: {_lossless(version)}; the figures below are those of its container")


def merged_from(version: VersionRecord) -> str:
    """The versions and weights of a merge: "0.6 x subject-42@1, 0.4 x style@2"; empty for others."""
    recipe = settings(version).get("merge")
    if recipe is None:
        return ""
    terms = [f"{one['weight']:g} x {one['name']}" for one in recipe["versions"]]
    rules = [
        f"{rule['weight']:g} x in {rule['pattern']}{_of_version(rule, recipe)}"
        for rule in recipe["layers"]
    ]
    return "; ".join(filter(None, (", ".join(terms), ", ".join(rules))))


def _of_version(rule: dict[str, Any], recipe: dict[str, Any]) -> str:
    names = {one["container"]: one["name"] for one in recipe["versions"]}
    return f" of {names[rule['container']]}" if "container" in rule else ""


def short_form(sha256: str) -> str:
    """The short digest that model sites and user interfaces show, called AutoV2."""
    return sha256[:SHORT_FORM].upper()


def _lossless(version: VersionRecord) -> str:
    if version.residual is not None:
        part, what = version.residual.size, "the residual"
    elif version.original is not None:
        part, what = version.original.size, "the LoRA file itself"
    else:
        return ""
    whole, source = version.stored_size, version.source.size
    return (
        f"{number_format.size(whole)} in all ({number_format.ratio(whole, source)}),"
        f" {number_format.size(part)} of it {what}"
    )


def base_name(version: VersionRecord) -> str:
    """The name of a version's base, or the start of its digest if the base was removed."""
    return version.base_name or f"{version.base[:DIGEST_SHOWN]}, removed"


def _cells(version: VersionRecord) -> tuple[str, ...]:
    first, *rest = version.note.splitlines() or [""]
    return (
        version.ref,
        ", ".join(version.aliases),
        base_name(version),
        _requested(version),
        number_format.size(version.stored_size),
        number_format.size(version.source.size),
        _error(version),
        number_format.moment(version.added),
        number_format.moment(version.removed) if version.removed else "",
        ", ".join(version.tags),
        f"{first} ..." if rest else first,
    )


def _error(version: VersionRecord) -> str:
    if version.residual is not None:
        return number_format.relative(0.0)
    error = version.summary.get("error")
    return number_format.relative(float(error)) if error is not None else ""


def _requested(version: VersionRecord) -> str:
    """The requested fidelity: "tau 0.5", "error 0.3", "20.0 MB"; empty for an unknown one."""
    request = settings(version)
    if "lossless" in request or version.original is not None:
        return "lossless"
    if "tau" in request:
        return f"tau {request['tau']:g}"
    if "max_error" in request:
        return f"error {request['max_error']:g}"
    return number_format.size(request["budget"]) if "budget" in request else ""
