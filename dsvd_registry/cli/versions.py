"""Printed versions: a table of many, and the fields of one."""

from __future__ import annotations

from collections.abc import Sequence

from .. import number_format
from ..catalog.records import VersionRecord
from ..registry.accounts.version_text import base_name, error, fidelity, merged_from, short_form
from .tables import figure, print_fields, print_line, print_table, text


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


def _cells(version: VersionRecord) -> tuple[str, ...]:
    first, *rest = version.note.splitlines() or [""]
    return (
        version.ref,
        ", ".join(version.aliases),
        base_name(version),
        fidelity(version),
        number_format.size(version.stored_size),
        number_format.size(version.source.size),
        error(version),
        number_format.moment(version.added),
        number_format.moment(version.removed) if version.removed else "",
        ", ".join(version.tags),
        f"{first} ..." if rest else first,
    )
