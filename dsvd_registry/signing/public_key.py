"""An Ed25519 public key, which identifies a signer, and its fingerprint as OpenSSH shows it."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

KEY_BYTES = 32
_ALGORITHM = b"ssh-ed25519"


@dataclass(frozen=True)
class PublicKey:
    """The 32 bytes of a public key. They are not checked to be a point of the curve."""

    raw: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the key in OpenSSH's encoding, in hexadecimal digits."""
        parts = (struct.pack(">I", len(part)) + part for part in (_ALGORITHM, self.raw))
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` prints it."""
        return fingerprint(self.sha256)


def fingerprint(sha256: str) -> str:
    """The fingerprint of the key with this `sha256`."""
    return "SHA256:" + base64.b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
