"""`dsvd verify`."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import DamageFound, InvalidArgument
from ..registry import Verified
from . import figures
from .documents import plain, print_document
from .options import common_options, open_registry
from .progress import shown_progress
from .tables import print_line


@click.command()
@click.argument("ref", required=False)
@click.option("--all", "everything", is_flag=True, help="All versions and bases: the default.")
@click.option("--deep", is_flag=True, help="Make every full checkpoint in memory too.")
@click.option(
    "--signer",
    metavar="PUBLICKEY",
    type=click.Path(path_type=Path),
    help="A file with an Ed25519 public key, of which each version must have a valid signature.",
)
@common_options
@click.pass_context
def verify(
    ctx: click.Context,
    ref: str | None,
    everything: bool,
    deep: bool,
    signer: Path | None,
    as_json: bool,
) -> None:
    """Look for damage.

    Checks every object against its hash, every container and its checksums; with --deep also that
    each version still gives the checkpoint that is on record, and with --signer that each was signed
    by that key. The exit code is 0 only if all is well.
    """
    if everything and ref is not None:
        raise InvalidArgument("--all and a ref were both given", "Give one of them.")
    with open_registry() as registry, shown_progress() as progress:
        found = registry.verify(ref, deep=deep, signer=signer, progress=progress)
    if as_json:
        print_document(plain(found) | {"is_well": found.is_well})
    else:
        _print_findings(found)
    if not found.is_well:
        ctx.exit(DamageFound.exit_code)


def _print_findings(found: Verified) -> None:
    for finding in found.findings:
        print_line(f"{', '.join(finding.subjects)}: {finding.problem}")
    looked_at = (
        f"{figures.counted(found.versions, 'version')}, {figures.counted(found.bases, 'base')}"
    )
    result = "all is well" if found.is_well else figures.counted(len(found.findings), "finding")
    print_line(f"{looked_at}: {result}")
