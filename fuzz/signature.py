"""A fuzz target: a signature, and the signature file of an exported container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dsvd_registry import canonical
from dsvd_registry.errors import SignatureError
from dsvd_registry.signing.signature import decode, decode_several, encode_several


def seeds() -> Iterator[bytes]:
    statement = {"purpose": "dsvd signature v1", "container": "0" * 64}
    one = {"key": "1" * 64, "signature": "2" * 128, "statement": statement}
    yield canonical.encode(one)
    yield canonical.encode([one, {**one, "key": "3" * 64}])


def read(data: bytes, folder: Path) -> None:
    if data.startswith(b"["):
        assert encode_several(decode_several(data, "the file")) == data
        return
    signature = decode(data, "the signature")
    assert signature.encode() == data
    try:
        signature.check(b"{}", "the signature")
    except SignatureError as error:
        assert str(error).isprintable()
