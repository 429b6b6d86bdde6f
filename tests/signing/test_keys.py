"""Key files of every kind, readable and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from dsvd_registry.errors import InvalidArgument, StorageError
from dsvd_registry.signing import PublicKey
from dsvd_registry.signing.ed25519 import is_valid
from dsvd_registry.signing.keys import read_private_key, read_public_key

from .conftest import PASSPHRASE, PEM, PLAIN, PRIVATE

# As `ssh-keygen -l` says of alice's key.
ALICE = "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8"
# Made by `ssh-keygen -N pass`, and used nowhere else.
LOCKED_OPENSSH = """\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABA527q5PR
s98it1BJKzlt+7AAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIPA8ZCwygMLPTElr
u8P/SLLH0D1AvfT1KAdk1BtE19qaAAAAkMOCD5RimbvIg7vHwckBuYRmNUc2HF4ybrjYgX
SolnU4ro/3ucuzajia2Th9EPH1n5cxUfQS+qs0NnDvqvPZagjZCix6xnEK8bcfZyufGjD6
E6JlfyoyVP/2v+lcfpLsx6IOEIw5m5h8YYWhIMJ2410Uk1jgowMP7ghyLRtDzDKrDYZ6Mg
JUrV8otuTAMl3QMQ==
-----END OPENSSH PRIVATE KEY-----
"""


def not_asked() -> str:
    raise AssertionError("nothing is encrypted here")


@pytest.mark.parametrize("ending", ["pem", "ssh", "locked.pem"])
@pytest.mark.parametrize("public", ["pub", "pub.pem"])
def test_every_form_is_the_same_key(keys: Path, ending: str, public: str) -> None:
    ask = (lambda: PASSPHRASE) if ending == "locked.pem" else not_asked
    private = read_private_key(keys / f"alice.{ending}", ask)
    key = read_public_key(keys / f"alice.{public}")
    assert private.public == key
    assert key.fingerprint == ALICE
    signature = private.sign(b"words")
    assert private.sign(b"words") == signature
    assert is_valid(key, signature.signature, b"words")
    assert not is_valid(key, signature.signature, b"other words")
    bob = read_public_key(keys / "bob.pub")
    assert bob != key
    assert not is_valid(bob, signature.signature, b"words")


def test_the_test_vector_of_rfc_8032() -> None:
    """The vector is section 7.1, test 2."""
    key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert is_valid(PublicKey(bytes.fromhex(key)), bytes.fromhex(signature), b"\x72")
    assert not is_valid(PublicKey(bytes.fromhex(key)), bytes.fromhex(signature), b"\x73")


def test_bytes_that_are_no_point_of_the_curve_sign_nothing() -> None:
    for number in range(256):
        assert not is_valid(PublicKey(bytes([number]) * 32), bytes(64), b"words")


@pytest.mark.parametrize("word", ["wrong", "", "\udc80", "x" * 2000])
def test_a_wrong_passphrase(keys: Path, word: str) -> None:
    with pytest.raises(InvalidArgument, match="passphrase"):
        read_private_key(keys / "alice.locked.pem", lambda: word)


def test_a_locked_openssh_key_without_bcrypt_or_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    path.write_text(LOCKED_OPENSSH)
    with pytest.raises(InvalidArgument, match=r"bcrypt|passphrase"):
        read_private_key(path, lambda: "wrong")


def other_kinds() -> dict[str, bytes]:
    curve = ec.generate_private_key(ec.SECP256R1())
    line = serialization.Encoding.OpenSSH
    return {
        "empty": b"",
        "text": b"Dear registry,\n",
        "zeros": bytes(100),
        "huge": b"-----BEGIN PRIVATE KEY-----\n" * 10_000,
        "pem of nothing": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "openssh of nothing": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"
        b"-----END OPENSSH PRIVATE KEY-----\n",
        "public of nothing": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "half a line": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV\n",
        "another curve": curve.private_bytes(PEM, PRIVATE.PKCS8, PLAIN),
        "another curve of openssh": curve.private_bytes(PEM, PRIVATE.OpenSSH, PLAIN),
        "ed448": ed448.Ed448PrivateKey.generate().private_bytes(PEM, PRIVATE.PKCS8, PLAIN),
        "public, another curve": curve.public_key().public_bytes(
            PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "line, another curve": curve.public_key().public_bytes(
            line, serialization.PublicFormat.OpenSSH
        ),
    }


@pytest.mark.parametrize("name", other_kinds())
def test_what_is_no_ed25519_key(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(other_kinds()[name])
    for refused in (lambda: read_private_key(path, not_asked), lambda: read_public_key(path)):
        with pytest.raises(InvalidArgument, match="key"):
            refused()


def test_a_key_in_the_place_of_the_other(keys: Path) -> None:
    for ending in ("pem", "ssh", "locked.pem"):
        with pytest.raises(InvalidArgument, match="is a private key"):
            read_public_key(keys / f"alice.{ending}")
    for ending in ("pub", "pub.pem"):
        with pytest.raises(InvalidArgument, match="is not a private key"):
            read_private_key(keys / f"alice.{ending}", not_asked)


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StorageError):
            read_private_key(path, not_asked)
        with pytest.raises(StorageError):
            read_public_key(path)
