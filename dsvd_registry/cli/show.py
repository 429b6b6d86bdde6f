"""The command `dsvd show`."""

from __future__ import annotations

import click

from .. import number_format
from ..registry import TensorRow
from .account import kind_name, print_account
from .attachments import print_known
from .documents import print_document, version_document
from .options import common_options, open_registry
from .tables import figure, print_line, print_table, text
from .versions import print_version


@click.command()
@click.argument("ref")
@click.option("--tensors", is_flag=True, help="Show every tensor too.")
@common_options
def show(ref: str, tensors: bool, as_json: bool) -> None:
    """Show a version and the account of its tensors."""
    with open_registry() as registry:
        version, report = registry.version(ref), registry.report(ref)
        signers = registry.signers(version.ref)
        metadata, attachments = registry.metadata(version.ref), registry.attachments(version.ref)
    if as_json:
        known = {"metadata": dict(metadata), "attachments": attachments}
        print_document(version_document(version) | known | {"signers": signers, "report": report})
        return
    print_version(version, [signer.fingerprint for signer in signers])
    print_line()
    print_known(metadata, attachments)
    print_account(report)
    if tensors:
        titles = ("full rank", "tau rank", "noise rank", "rank", "energy", "error", "change")
        columns = [text("kind"), text("dtype"), text("shape")]
        columns += [figure(title, optional=True) for title in titles]
        columns += [figure("bytes"), text("tensor")]
        print_line()
        print_table(columns, map(_cells, report.tensors))


def _cells(row: TensorRow) -> tuple[str, ...]:
    return (
        kind_name(row.kind),
        row.dtype,
        "x".join(map(str, row.shape)),
        number_format.rank(row.full_rank),
        number_format.rank(row.tau_rank),
        number_format.rank(row.noise_rank),
        number_format.rank(row.rank),
        number_format.share(row.energy),
        number_format.relative(row.error),
        number_format.relative(row.change),
        number_format.count(row.stored_bytes),
        row.name,
    )
