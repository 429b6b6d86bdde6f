"""The command `dsvd sign`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..errors import InvalidArgument
from .documents import print_document
from .options import common_options, open_registry
from .tables import print_line

PASSPHRASE_VARIABLE = "DSVD_KEY_PASSPHRASE"


@click.command()
@click.argument("ref")
@click.option(
    "--key",
    metavar="KEYFILE",
    required=True,
    type=click.Path(path_type=Path),
    help="An Ed25519 private key: PEM (PKCS8) or OpenSSH.",
)
@common_options
def sign(ref: str, key: Path, as_json: bool) -> None:
    """Sign a version.

    The signature covers the bytes of the version and its results, not its name. `dsvd export --format
    dsvd` writes it too. The passphrase of the key is asked for, or read from DSVD_KEY_PASSPHRASE.
    """
    with open_registry() as registry:
        signed = registry.sign(ref, key, passphrase=_passphrase)
    if as_json:
        print_document(signed)
    elif signed.created:
        print_line(f"signed {signed.ref} by {signed.signer}")
    else:
        print_line(f"{signed.ref} was signed by {signed.signer} already")


def _passphrase() -> str:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InvalidArgument(
            "the key is encrypted, and there is no terminal to ask for its passphrase",
            f"Set {PASSPHRASE_VARIABLE}.",
        )
    asked: str = click.prompt("Passphrase of the key", hide_input=True, err=True)
    return asked
