"""The bytes of statements and signatures, which must never change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry import Registry, canonical
from dsvd_registry.container.reader import Container
from dsvd_registry.errors import SignatureError
from dsvd_registry.signing import Signature, statement_of
from dsvd_registry.signing.keys import read_private_key
from dsvd_registry.signing.signature import decode, decode_several, encode_several

STATEMENT = b'{"container":"c"}'


@pytest.fixture(scope="module")
def signature(keys: Path) -> Signature:
    return read_private_key(keys / "alice.pem", str).sign(STATEMENT)


@pytest.fixture(scope="module")
def of_bob(keys: Path) -> Signature:
    return read_private_key(keys / "bob.pem", str).sign(STATEMENT)


def test_what_is_signed(registry: Registry, place: Path) -> None:
    """Changing these bytes breaks every signature that exists."""
    registry.export_container("subject@1", place / "one.dsvd")
    version = registry.version("subject@1")
    with Container(place / "one.dsvd") as container:
        result = container.header.results[0]
        assert (
            statement_of(container.header, container.check_file())
            == (
                f'{{"base":"{version.base}","container":"{version.container}",'
                f'"purpose":"dsvd signature v1","results":[{{"path":"{result.path}",'
                f'"sha256":"{result.sha256}","size":{result.size}}}],'
                f'"source":"{version.source.sha256}"}}'
            ).encode()
        )


def test_the_bytes_are_pinned(signature: Signature) -> None:
    assert signature.encode() == (
        b'{"key":"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",'
        b'"signature":"%s","statement":{"container":"c"}}' % signature.signature.hex().encode()
    )


def test_it_comes_back_as_it_went(signature: Signature, of_bob: Signature) -> None:
    assert decode(signature.encode(), "it") == signature
    both = encode_several([signature, of_bob])
    assert encode_several([of_bob, signature]) == both
    assert set(decode_several(both, "it")) == {signature, of_bob}
    signature.check(STATEMENT, "it")


def test_what_is_not_valid(signature: Signature, of_bob: Signature) -> None:
    with pytest.raises(SignatureError, match="it was made for the container c"):
        signature.check(b'{"container":"d"}', "it")
    other = Signature(signature.key, b"{}", signature.signature)
    with pytest.raises(SignatureError, match="it was made for something else"):
        other.check(STATEMENT, "it")
    with pytest.raises(SignatureError, match="is not valid"):
        other.check(b"{}", "it")
    with pytest.raises(SignatureError, match="is not valid"):
        Signature(of_bob.key, STATEMENT, signature.signature).check(STATEMENT, "it")


def changed(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda value: value | changes


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda value: [value],
    "a text": lambda _value: "signature",
    "a field too many": changed(more=1),
    "a field too few": lambda value: {name: value[name] for name in ("key", "signature")},
    "a short key": lambda value: value | {"key": value["key"][:-2]},
    "a long signature": lambda value: value | {"signature": value["signature"] + "00"},
    "upper case": lambda value: value | {"key": value["key"].upper()},
    "no digits": changed(key="x" * 64),
    "foreign digits": changed(key="\u0661" * 64),
    "a number": changed(signature=1),
    "a statement in a text": changed(statement="{}"),
    "no statement": changed(statement=None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_signature(signature: Signature, name: str) -> None:
    value = BROKEN[name](json.loads(signature.encode()))
    with pytest.raises(SignatureError, match="it"):
        decode(canonical.encode(value), "it")
    with pytest.raises(SignatureError, match="it"):
        decode_several(canonical.encode([value]), "it")


def test_other_spellings(signature: Signature, of_bob: Signature) -> None:
    data = signature.encode()
    for other in (b"", data + b"\n", b" " + data, data[:-1], b"[" * 100_000, b"\xff" + data):
        with pytest.raises(SignatureError):
            decode(other, "it")
        with pytest.raises(SignatureError):
            decode_several(b"[" + other + b"]", "it")
    one, other = sorted((data, of_bob.encode()))
    for several in (b"[]", data, b"[%s,%s]" % (data, data), b"[%s,%s]" % (other, one)):
        with pytest.raises(SignatureError):
            decode_several(several, "it")
    assert len(decode_several(b"[%s,%s]" % (one, other), "it")) == 2


def test_too_much_is_refused_unread(signature: Signature) -> None:
    with pytest.raises(SignatureError, match="more than"):
        decode(b" " * (17 << 20), "it")
    many = b"[" + b",".join([signature.encode()] * 65) + b"]"
    with pytest.raises(SignatureError, match="1 to 64"):
        decode_several(many, "it")
