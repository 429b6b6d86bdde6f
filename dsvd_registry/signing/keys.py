"""Key files, and signing with their keys.

Importing this module raises `MissingExtra` if `cryptography` is not installed.
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
    """An Ed25519 private key, which can sign."""

    _key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The public key of the pair."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, statement: bytes) -> Signature:
        """Sign `statement`: equal statements have equal signatures."""
        return Signature(self.public, statement, self._key.sign(statement))


def read_private_key(path: Path, passphrase: Passphrase) -> PrivateKey:
    """Read a private key from a file; `passphrase` is called if it is encrypted.

    Raises:
        InvalidArgument: for a file that is no Ed25519 private key, and for a wrong passphrase.
        MissingExtra: for an encrypted OpenSSH key if `bcrypt` is not installed.
        StorageError: if the file cannot be read.

    An error of `passphrase` is passed on.
    """
    data = _read(path)
    ssh = data.startswith(_OPENSSH_PRIVATE)
    load = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    is_locked = False
    try:
        try:
            key = load(data, None)
        except TypeError:  # both loaders raise it for a key with a passphrase
            is_locked = True
            word = passphrase().encode(errors="surrogateescape")
            key = load(data, word or b"\0")  # an empty one would be a TypeError again
    except UnsupportedAlgorithm as error:
        if "bcrypt" in str(error):
            raise MissingExtra(
                f"{path}: an OpenSSH key with a passphrase needs bcrypt, which is not installed",
                "Install bcrypt, or give the key as PEM (PKCS8).",
            ) from error
        raise InvalidArgument(f"{path} is not an Ed25519 private key", _PRIVATE_HINT) from error
    except ValueError as error:
        if is_locked:  # of 256 wrong ones, one gives bytes that end as those of a key do
            raise InvalidArgument(
                f"the passphrase of {path} is wrong", "Give the right one."
            ) from error
        raise InvalidArgument(f"{path} is not a private key", _PRIVATE_HINT) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidArgument(f"{path} is not an Ed25519 private key", _PRIVATE_HINT)
    return PrivateKey(key)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key from a file. Raises `InvalidArgument` for anything else, `StorageError`."""
    data = _read(path)
    if b"PRIVATE KEY-----" in data:
        raise InvalidArgument(f"{path} is a private key", f"Keep it secret. {_PUBLIC_HINT}")
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
            f"{path} has more than {MAX_KEY_FILE} bytes: it is no key", "Give a key file."
        )
    return data
