"""Signatures of versions: Ed25519 over a small statement about a container and its results.

Only `ed25519` imports the package `cryptography`, an extra: import it, or `keys`, where it is used.
"""

from __future__ import annotations

from .public_key import PublicKey, fingerprint
from .signature import Signature
from .statement import statement_of

__all__ = ["PublicKey", "Signature", "fingerprint", "statement_of"]
