"""The command `dsvd verify`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import number_format
from ..errors import DamageFound, InvalidArgument
from ..registry import Registry, Repaired, Verified
from .documents import plain, print_document
from .options import catalog_url, common_options, open_registry, registry_path
from .printable_text import color
from .progress import shown_progress
from .tables import print_line, print_table, text

HINT = "`dsvd verify --all --repair` restores damaged files if possible, and sets the others aside."

RESTORE_HINT = (
    "--from PATH restores lost objects from a file or folder with their bytes; so does `dsvd import`, "
    "`dsvd base add` or `dsvd add` of the same file."
)


@click.command()
@click.argument("ref", required=False)
@click.option("--all", "everything", is_flag=True, help="Check all versions and bases (default).")
@click.option("--deep", is_flag=True, help="Also make every full checkpoint in memory.")
@click.option(
    "--signer",
    metavar="PUBLICKEY",
    type=click.Path(path_type=Path),
    help="A file with an Ed25519 public key; each version must have a valid signature by it.",
)
@click.option("--repair", is_flag=True, help="Restore damaged files if possible; needs --all.")
@click.option(
    "--from",
    "sources",
    metavar="PATH",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --repair: a file or folder that may have good bytes; may be repeated.",
)
@common_options
@click.pass_context
def verify(
    ctx: click.Context,
    ref: str | None,
    everything: bool,
    deep: bool,
    signer: Path | None,
    repair: bool,
    sources: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Look for damage.

    The command compares every object with its SHA-256, every container with its checksums, and the
    catalog with the events. With --deep it also checks that each version still gives the recorded
    checkpoint, and with --signer that each was signed by that key. The exit code is 0 only if no
    problem is found.

    The findings about the whole registry are kept in it, so that the pages of `dsvd serve` show them.

    With --repair, a catalog that differs from the events is rebuilt, and damaged or missing objects
    are restored from the --from paths and from linked bases, if their SHA-256 is right. Damaged
    objects that cannot be restored are moved to the registry's folder `quarantine`, and the versions
    and bases that need them are listed. `dsvd import`, `dsvd base add` and `dsvd add` of the same file
    also restore an object.
    """
    if everything and ref is not None:
        raise InvalidArgument("--all and a ref were both given", "Give one of them.")
    if repair and not everything:
        raise InvalidArgument("--repair is for the whole registry", "Give --all too.")
    if sources and not repair:
        raise InvalidArgument("--from is for --repair", "Give --all and --repair too.")
    if repair:
        _repair(ctx, deep, signer, sources, as_json)
        return
    with open_registry() as registry, shown_progress() as progress:
        found = registry.verify(ref, deep=deep, signer=signer, progress=progress)
        if ref is None:
            registry.keep_verified(found)
    if as_json:
        print_document(plain(found) | {"is_well": found.is_well})
    else:
        _print_findings(found)
    if not found.is_well:
        if signer is None and not as_json:
            _hint(HINT)
        ctx.exit(DamageFound.exit_code)


def _repair(
    ctx: click.Context, deep: bool, signer: Path | None, sources: tuple[Path, ...], as_json: bool
) -> None:
    with shown_progress() as progress:
        done = Registry.repair(
            registry_path(),
            sources=sources,
            deep=deep,
            signer=signer,
            catalog=catalog_url(),
            progress=progress,
        )
    with open_registry() as registry:
        registry.keep_verified(done.verified)
    if as_json:
        print_document(plain(done) | {"is_well": done.is_well})
    else:
        _print_repaired(done)
        _print_findings(done.verified)
        if done.lost:
            _hint(RESTORE_HINT)
    if not done.is_well:
        ctx.exit(DamageFound.exit_code)


def _print_repaired(done: Repaired) -> None:
    if done.catalog is not None:
        events = number_format.counted(done.catalog.events, "event")
        kept = done.catalog.set_aside
        aside = "" if kept is None else f"; the former one is kept as {kept}"
        print_line(f"catalog rebuilt from {events}{aside}")
    rows = [
        ("restored", one.what, one.sha256[:12], one.origin, ", ".join(one.subjects))
        for one in done.restored
    ]
    for lost in done.lost:
        place = "" if lost.quarantined is None else str(lost.quarantined)
        rows.append(("lost", lost.what, lost.sha256[:12], place, ", ".join(lost.subjects)))
    if rows:
        print_table([*map(text, ("", "object", "SHA-256", "from, or now", "needed by"))], rows)
    if rows or done.catalog is not None:
        print_line()


def _hint(text: str) -> None:
    click.echo(f"{click.style('hint:', bold=True)} {text}", err=True, color=color())


def _print_findings(found: Verified) -> None:
    for finding in found.findings:
        print_line(f"{', '.join(finding.subjects)}: {finding.problem}")
    counted = number_format.counted
    looked_at = f"{counted(found.versions, 'version')}, {counted(found.bases, 'base')}"
    result = "all is well" if found.is_well else counted(len(found.findings), "finding")
    print_line(f"{looked_at}: {result}")
