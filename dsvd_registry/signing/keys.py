"""The files in which keys lie, and signing with them.

Importing this module raises `MissingExtra` where `cryptography` is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidArgument, MissingExtra
from ..fs import storage_errors
from .ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
    UnsupportedAlgorithm,
    serialization,
)
from .public_key import PublicKey
from .signature import Signature

MAX_KEY_FILE = 65_536

_PEM = b"-----BEGIN "
_OPENSSH_PRIVATE = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PRIVATE_HINT = "Give an Ed25519 key in PEM (PKCS8) or as OpenSSH writes it."
_PUBLIC_HINT = "Give an Ed25519 public key in PEM, or OpenSSH's line `ssh-ed25519 ...`."

Passphrase = Callable[[], str]


@dataclass(frozen=True)
class PrivateKey:
    """A key that can sign."""

    _key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """Its other half."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, statement: bytes) -> Signature:
        """The signature of `statement`: the same one each time."""
        return Signature(self.public, statement, self._key.sign(statement))


def read_private_key(path: Path, passphrase: Passphrase) -> PrivateKey:
    """The private key in a file; `passphrase` is called if it is encrypted.

    Raises `InvalidArgument` for what is no Ed25519 private key and a wrong passphrase,
    `StorageError`, and what `passphrase` does.
    """
    data = _read(path)
    ssh = data.startswith(_OPENSSH_PRIVATE)
    load = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    try:
        try:
            key = load(data, None)
        except TypeError:  # so both say that there is a passphrase
            word = passphrase().encode(errors="surrogateescape")
            key = load(data, word or b"\0")  # none at all would be a TypeError again
    except UnsupportedAlgorithm as error:
        if "bcrypt" in str(error):
            raise MissingExtra(
                f"{path}: an OpenSSH key with a passphrase needs bcrypt, which is not installed",
                "Install bcrypt, or give the key as PEM (PKCS8).",
            ) from error
        raise InvalidArgument(f"{path} is not an Ed25519 private key", _PRIVATE_HINT) from error
    except ValueError as error:
        if "password" in str(error).lower() or "checksum" in str(error).lower():
            raise InvalidArgument(
                f"the passphrase of {path} is another one", "Give the right one."
            ) from error
        raise InvalidArgument(f"{path} is not a private key", _PRIVATE_HINT) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidArgument(f"{path} is not an Ed25519 private key", _PRIVATE_HINT)
    return PrivateKey(key)


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file. Raises `InvalidArgument` for anything else, `StorageError`."""
    data = _read(path)
    if b"PRIVATE KEY-----" in data:
        raise InvalidArgument(f"{path} is a private key", f"Keep it to yourself. {_PUBLIC_HINT}")
    pem = data.startswith(_PEM)
    load = serialization.load_pem_public_key if pem else serialization.load_ssh_public_key
    try:
        key = load(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{path} is not an Ed25519 public key", _PUBLIC_HINT) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidArgument(f"{path} is not an Ed25519 public key", _PUBLIC_HINT)
    return PublicKey(key.public_bytes_raw())


def _read(path: Path) -> bytes:
    with storage_errors(path), path.open("rb") as file:
        data = file.read(MAX_KEY_FILE + 1)
    if len(data) > MAX_KEY_FILE:
        raise InvalidArgument(
            f"{path} has more than {MAX_KEY_FILE} bytes: it is no key", "Give a key's file."
        )
    return data
