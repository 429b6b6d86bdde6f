"""A signature as bytes: an object of the store, or one of several in a file next to a container.

The bytes are canonical JSON, so that one signature has one SHA-256:
{"key": 64 hexadecimal digits, "signature": 128 hexadecimal digits, "statement": {...}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .. import canonical
from ..errors import SignatureError
from .public_key import KEY_BYTES, PublicKey

MAX_SIGNATURES = 64
MAX_BYTES = 16 << 20  # of a file or an object: a statement lists every file of a folder
_FIELDS = {"key": 2 * KEY_BYTES, "signature": 128}  # hexadecimal digits
_HEXADECIMAL = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True)
class Signature:
    """A signature (64 bytes) of `statement` by `key`, well-formed but not yet checked."""

    key: PublicKey
    statement: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The bytes of the signature's object."""
        return canonical.encode(self._value())

    def check(self, statement: bytes, where: str) -> None:
        """Raise `SignatureError` unless it is a valid signature of `statement`.

        `where`: the signature's name in messages. Raises `MissingExtra` if `cryptography` is not
        installed.
        """
        from .ed25519 import is_valid

        if self.statement != statement:
            raise SignatureError(
                f"{where} is not of this container: it was made for {self._subject()}",
                "Use the signature that belongs to the container, or none.",
            )
        if not is_valid(self.key, self.signature, statement):
            raise SignatureError(f"{where} is not valid: {self.key.fingerprint} did not make it")

    def _value(self) -> dict[str, Any]:
        return {
            "key": self.key.raw.hex(),
            "signature": self.signature.hex(),
            "statement": canonical.decode(self.statement),
        }

    def _subject(self) -> str:
        container = canonical.decode(self.statement).get("container")
        return f"the container {container}" if isinstance(container, str) else "something else"


def decode(data: bytes, where: str) -> Signature:
    """Parse the bytes of a signature's object, which messages call `where`.

    Raises `SignatureError`.
    """
    return _of_value(_parsed(data, where), where)


def encode_several(signatures: Iterable[Signature]) -> bytes:
    """The bytes of a file of signatures next to a container: an array, sorted by key."""
    ordered = sorted(signatures, key=lambda signature: signature.key.raw)
    return canonical.encode([signature._value() for signature in ordered])


def decode_several(data: bytes, where: str) -> tuple[Signature, ...]:
    """Parse a file of 1 to `MAX_SIGNATURES` signatures. Raises `SignatureError`."""
    values = _parsed(data, where)
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_SIGNATURES:
        raise SignatureError(f"{where} is not an array of 1 to {MAX_SIGNATURES} signatures")
    signatures = tuple(_of_value(value, where) for value in values)
    keys = [signature.key.raw for signature in signatures]
    if keys != sorted(set(keys)):
        raise SignatureError(f"{where} does not have one signature per key, sorted by key")
    return signatures


def _parsed(data: bytes, where: str) -> Any:
    if len(data) > MAX_BYTES:
        raise SignatureError(f"{where} has more than {MAX_BYTES} bytes")
    try:
        return canonical.decode(data)
    except canonical.NotCanonical as error:
        raise SignatureError(f"{where} is {error}") from error


def _of_value(value: Any, where: str) -> Signature:
    if not isinstance(value, dict) or value.keys() != {*_FIELDS, "statement"}:
        raise SignatureError(f"{where} is not a key, a signature and a statement")
    for name, digits in _FIELDS.items():
        text = value[name]
        well = isinstance(text, str) and len(text) == digits and _HEXADECIMAL.fullmatch(text)
        if not well:
            raise SignatureError(f"{where}: its {name} is not {digits} hexadecimal digits")
    if not isinstance(value["statement"], dict):
        raise SignatureError(f"{where}: its statement is not a JSON object")
    return Signature(
        PublicKey(bytes.fromhex(value["key"])),
        canonical.encode(value["statement"]),
        bytes.fromhex(value["signature"]),
    )
