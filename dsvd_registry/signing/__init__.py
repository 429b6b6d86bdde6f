"""Signatures of versions: Ed25519 over a small statement of what a container is and gives.

`ed25519` alone imports the package `cryptography`, an extra: import it, or `keys`, where it is needed.
"""

from __future__ import annotations

from .public_key import PublicKey, fingerprint
from .signature import Signature
from .statement import statement_of

__all__ = ["PublicKey", "Signature", "fingerprint", "statement_of"]
