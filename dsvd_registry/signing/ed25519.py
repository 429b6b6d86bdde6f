"""Ed25519 signatures: the only module that imports `cryptography`, which is an extra.

Importing this module raises `MissingExtra` if that package is not installed.
"""

from __future__ import annotations

from ..errors import MissingExtra
from .public_key import PublicKey

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ImportError as error:
    raise MissingExtra(
        "signatures need the package cryptography, which is not installed",
        "Install it with: pip install 'dsvd-registry[sign]'",
    ) from error

__all__ = [
    "Ed25519PrivateKey",
    "Ed25519PublicKey",
    "UnsupportedAlgorithm",
    "is_valid",
    "serialization",
]


def is_valid(key: PublicKey, signature: bytes, statement: bytes) -> bool:
    """Return whether `key` made `signature` (64 bytes) of `statement`."""
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, statement)
    except InvalidSignature:
        return False
    return True
