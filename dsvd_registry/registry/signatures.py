"""What can be done with signatures: `verify` checks them, export and import take them along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidArgument
from .opened import OpenRegistry

if TYPE_CHECKING:
    from .signing import Signed, Signer


def _no_passphrase() -> str:
    raise InvalidArgument("the key is encrypted, and no passphrase was given", "Give it.")


class Signatures(OpenRegistry):
    """Versions signed."""

    def sign(
        self, ref: str, key: str | Path, *, passphrase: Callable[[], str] = _no_passphrase
    ) -> Signed:
        """Sign a version with an Ed25519 private key: a file in PEM (PKCS8) or as OpenSSH writes it.

        What is signed is the container with its base, source and results; not its name. `passphrase`
        is called if the key is encrypted. Raises `InvalidArgument` for what is no such key,
        `MissingExtra` where `cryptography` is not installed, `ContainerError`.
        """
        from ..signing.keys import read_private_key
        from .signing import sign

        version = self.version(ref)
        private = read_private_key(Path(key), passphrase)
        return sign(version, private, self._catalog, self._objects)

    def signers(self, ref: str) -> list[Signer]:
        """Whose signatures a version has on record, oldest first; `verify` checks them."""
        from .signing import signers

        return signers(self._catalog.signatures(ref))
