"""Who signed: an Ed25519 public key and its fingerprint, as OpenSSH shows it."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

KEY_BYTES = 32
_ALGORITHM = b"ssh-ed25519"


@dataclass(frozen=True)
class PublicKey:
    """The 32 bytes of a key, of which nothing but the number is checked here."""

    raw: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the key as OpenSSH writes it, in hexadecimal digits."""
        parts = (struct.pack(">I", len(part)) + part for part in (_ALGORITHM, self.raw))
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return fingerprint(self.sha256)


def fingerprint(sha256: str) -> str:
    """The fingerprint of the key whose `sha256` this is."""
    return "SHA256:" + base64.b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
