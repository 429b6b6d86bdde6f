"""Versions signed, verified, rebuilt, collected and sent to another registry."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dsvd_registry import Registry, canonical
from dsvd_registry.errors import Conflict, InvalidArgument, NotFound, RegistryError, SignatureError
from dsvd_registry.signing import Signature
from dsvd_registry.signing.keys import PrivateKey, read_private_key
from dsvd_registry.store import ObjectStore, registry_folder

from .conftest import PASSPHRASE

ONE, TWO = "subject@1", "subject@2"


@pytest.fixture(scope="module")
def alice(keys: Path) -> PrivateKey:
    return read_private_key(keys / "alice.pem", str)


def problems(registry: Registry, ref: str | None, signer: Path | None = None) -> list[str]:
    return [finding.problem for finding in registry.verify(ref, signer=signer).findings]


def object_path(root: Path, sha256: str) -> Path:
    return root / "objects" / sha256[:2] / sha256


def signature_object(registry: Registry, ref: str = ONE) -> Path:
    """The path of a version's first signature, made writable."""
    (record, *_) = registry.repository.catalog.signatures(ref)
    path = object_path(registry.folder, record.signature)
    path.chmod(0o644)
    return path


def plant(registry: Registry, ref: str, signature: Signature, signer: str | None = None) -> None:
    """Put an unchecked signature on a version, as anybody with write access to the registry could."""
    stored = ObjectStore(registry_folder.open(registry.folder)).put(signature.encode())
    version = registry.version(ref)
    registry.repository.catalog.add_signature(
        version.model,
        version.number,
        signer=signer or signature.key.sha256,
        signature=stored.sha256,
    )


def statement(registry: Registry, alice_file: Path, ref: str) -> bytes:
    """The statement that a signature of a version signs."""
    signed = registry.sign(ref, alice_file)
    value = json.loads(object_path(registry.folder, signed.signature).read_bytes())
    return canonical.encode(value["statement"])


def test_there_and_back(registry: Registry, keys: Path) -> None:
    signed = registry.sign("subject@1", keys / "alice.pem")
    assert (signed.ref, signed.created) == (ONE, True)
    assert signed.signer.startswith("SHA256:")
    assert [signer.fingerprint for signer in registry.signers(ONE)] == [signed.signer]
    assert registry.signers(TWO) == []
    for public in ("alice.pub", "alice.pub.pem"):
        assert registry.verify(ONE, signer=keys / public).is_well
        assert registry.verify(ONE, signer=keys / public, deep=True).is_well
    assert registry.verify().is_well


def test_again_is_recognised(registry: Registry, keys: Path) -> None:
    first = registry.sign(ONE, keys / "alice.pem")
    again = registry.sign(ONE, keys / "alice.locked.pem", passphrase=lambda: PASSPHRASE)
    assert not again.created
    assert again.signature == first.signature
    with pytest.raises(InvalidArgument, match="no passphrase was given"):
        registry.sign(ONE, keys / "alice.locked.pem")


def test_by_another_or_by_nobody(registry: Registry, keys: Path) -> None:
    signed = registry.sign(ONE, keys / "alice.pem")
    bob = registry.sign(TWO, keys / "bob.ssh").signer
    assert problems(registry, ONE, keys / "bob.pub") == [f"there is no valid signature by {bob}"]
    assert problems(registry, TWO, keys / "alice.pub") == [
        f"there is no valid signature by {signed.signer}"
    ]
    found = registry.verify(signer=keys / "alice.pub").findings
    assert [finding.subjects for finding in found] == [(TWO,)]
    assert registry.verify().is_well
    with pytest.raises(NotFound):
        registry.sign("nobody", keys / "alice.pem")
    with pytest.raises(NotFound):
        registry.verify("subject@3", signer=keys / "alice.pub")


def test_several_signers(registry: Registry, keys: Path) -> None:
    made = [registry.sign(ONE, keys / f"{name}.pem").signer for name in ("carol", "alice", "bob")]
    assert [signer.fingerprint for signer in registry.signers(ONE)] == made
    for name in ("alice", "bob", "carol"):
        assert registry.verify(ONE, signer=keys / f"{name}.pub").is_well


def test_the_signature_of_another_version(
    registry: Registry, keys: Path, alice: PrivateKey
) -> None:
    plant(registry, TWO, alice.sign(statement(registry, keys / "alice.pem", ONE)))
    container = registry.version(ONE).container
    first, second = problems(registry, TWO, keys / "alice.pub")
    assert f"not of this container: it was made for the container {container}" in first
    assert second.startswith("there is no valid signature by")
    assert problems(registry, None) == [first]
    assert registry.verify(ONE, signer=keys / "alice.pub").is_well


@pytest.mark.parametrize("field", ["purpose", "base", "source", "results", "container", "more"])
def test_another_statement(registry: Registry, keys: Path, alice: PrivateKey, field: str) -> None:
    """A signature of the right key for something else does not count."""
    value = json.loads(statement(registry, keys / "alice.pem", ONE))
    other = "0" * 64 if isinstance(value.get(field, ""), str) else []
    plant(registry, ONE, alice.sign(canonical.encode(value | {field: other})))
    found = problems(registry, ONE, keys / "alice.pub")
    assert len(found) == 2
    assert "is not of this container" in found[0]


def test_a_forged_signature(registry: Registry, keys: Path, alice: PrivateKey) -> None:
    """A signature of bob with alice's key is not valid."""
    bob = read_private_key(keys / "bob.pem", str)
    said = statement(registry, keys / "alice.pem", ONE)
    plant(registry, ONE, Signature(alice.public, said, bob.sign(said).signature))
    first, second = problems(registry, ONE, keys / "alice.pub")
    assert "is not valid" in first
    assert second.startswith("there is no valid signature by")
    assert len(problems(registry, None)) == 1


def test_a_signature_under_another_name(registry: Registry, keys: Path, alice: PrivateKey) -> None:
    bob = read_private_key(keys / "bob.pem", str)
    said = statement(registry, keys / "bob.pem", ONE)
    plant(registry, ONE, bob.sign(said), signer=alice.public.sha256)
    first, second = problems(registry, ONE, keys / "alice.pub")
    assert "is a signature by" in first
    assert second.startswith("there is no valid signature by")


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_signature(registry: Registry, keys: Path, place: Path, damage: str) -> None:
    registry.sign(ONE, keys / "alice.pem")
    registry.sign(ONE, keys / "bob.pem")
    path = signature_object(registry)
    data = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    assert len(problems(registry, ONE)) == 1
    assert len(problems(registry, ONE, keys / "alice.pub")) == 2
    assert len(problems(registry, ONE, keys / "bob.pub")) == 1
    with pytest.raises(RegistryError):
        registry.export_container(ONE, place / "one.dsvd")
    assert not (place / "one.dsvd").exists()
    # Signing again brings the same object back.
    assert not registry.sign(ONE, keys / "alice.pem").created
    assert registry.verify(ONE, signer=keys / "alice.pub").is_well


def test_a_damaged_container_is_not_signed(registry: Registry, keys: Path) -> None:
    path = object_path(registry.folder, registry.version(ONE).container)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RegistryError, match="damaged"):
        registry.sign(ONE, keys / "alice.pem")
    assert registry.signers(ONE) == []


def rows(root: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(root / "catalog.sqlite")) as connection:
        return connection.execute("SELECT * FROM signatures ORDER BY 1, 2").fetchall()


def test_a_lost_catalog(registry: Registry, keys: Path) -> None:
    for ref, name in ((ONE, "alice"), (ONE, "bob"), (TWO, "alice")):
        registry.sign(ref, keys / f"{name}.pem")
    root, signers = registry.folder, registry.signers(ONE)
    before = rows(root)
    assert len(before) == 3
    registry.close()
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    Registry.rebuild_catalog(root)
    assert rows(root) == before
    with Registry.open(root) as again:
        assert again.signers(ONE) == signers
        assert again.verify(signer=keys / "alice.pub").is_well
    Registry.rebuild_catalog(root)  # of a catalog that is there
    assert rows(root) == before


def test_gc_keeps_the_signatures_of_what_is_there(registry: Registry, keys: Path) -> None:
    kept, lost = (registry.sign(ref, keys / "alice.pem").signature for ref in (ONE, TWO))
    assert registry.usage().reclaimable == 0
    assert registry.collect_garbage(grace_days=0).objects == 0
    registry.remove_version(TWO)
    assert registry.collect_garbage(grace_days=0).objects == 2
    assert object_path(registry.folder, kept).exists()
    assert not object_path(registry.folder, lost).exists()
    assert registry.verify(signer=keys / "alice.pub").is_well


def test_export_and_import(
    registry: Registry, elsewhere: Registry, keys: Path, place: Path
) -> None:
    for name in ("alice", "bob"):
        registry.sign(ONE, keys / f"{name}.pem")
    written = registry.export_container(ONE, place / "one.dsvd")
    assert written.signatures == place / "one.dsvd.sig"
    taken = elsewhere.import_container(place / "one.dsvd")
    assert taken.created
    fingerprints = {signer.fingerprint for signer in registry.signers(ONE)}
    assert {signer.fingerprint for signer in elsewhere.signers("one")} == fingerprints
    for name in ("alice", "bob"):
        assert elsewhere.verify("one", signer=keys / f"{name}.pub", deep=True).is_well
    assert len(problems(elsewhere, "one", keys / "carol.pub")) == 1
    assert not elsewhere.import_container(place / "one.dsvd").created
    back = elsewhere.export_container("one", place / "back.dsvd")
    assert back.signatures is not None
    assert back.signatures.read_bytes() == (place / "one.dsvd.sig").read_bytes()


def test_signatures_that_come_later(
    registry: Registry, elsewhere: Registry, keys: Path, place: Path
) -> None:
    written = registry.export_container(ONE, place / "one.dsvd")
    assert written.signatures is None
    assert not (place / "one.dsvd.sig").exists()
    elsewhere.import_container(place / "one.dsvd")
    assert elsewhere.signers("one") == []
    registry.sign(ONE, keys / "alice.pem")
    registry.export_container(ONE, place / "one.dsvd", replace=True)
    assert not elsewhere.import_container(place / "one.dsvd").created
    assert elsewhere.verify("one", signer=keys / "alice.pub").is_well


def test_import_refuses_signatures_of_something_else(
    registry: Registry, elsewhere: Registry, keys: Path, place: Path, alice: PrivateKey
) -> None:
    registry.sign(ONE, keys / "alice.pem")
    registry.sign(TWO, keys / "alice.pem")
    for number, name in ((1, "one"), (2, "two")):
        registry.export_container(f"subject@{number}", place / f"{name}.dsvd")
    own, other = ((place / f"{name}.dsvd.sig").read_bytes() for name in ("one", "two"))
    signature = json.loads(own)[0]["signature"].encode()
    forged = json.loads(own)[0] | {"key": read_private_key(keys / "bob.pem", str).public.raw.hex()}
    for wrong, words in (
        (other, "is not of this container"),
        (own.replace(signature[:6], b"000000", 1), "is not valid"),
        (canonical.encode([forged]), "is not valid"),
        (canonical.encode([*json.loads(own), forged]), r"is not valid|sorted by key"),
        (b"", "is not JSON"),
        (b"[]", "array"),
        (own[:-1], "is not JSON"),
        (own + b"\n", "canonical"),
        (bytes(17 << 20), "more than"),
    ):
        (place / "one.dsvd.sig").write_bytes(wrong)
        with pytest.raises(SignatureError, match=words):
            elsewhere.import_container(place / "one.dsvd")
        assert elsewhere.versions() == []
    assert elsewhere.collect_garbage(grace_days=0).objects == 0
    (place / "one.dsvd.sig").write_bytes(own)
    assert elsewhere.import_container(place / "one.dsvd").created


def test_a_known_version_is_refused_wrong_signatures_too(
    registry: Registry, elsewhere: Registry, keys: Path, place: Path
) -> None:
    registry.export_container(ONE, place / "one.dsvd")
    elsewhere.import_container(place / "one.dsvd")
    registry.sign(TWO, keys / "alice.pem")
    registry.export_container(TWO, place / "two.dsvd")
    shutil.copy(place / "two.dsvd.sig", place / "one.dsvd.sig")
    with pytest.raises(SignatureError, match="is not of this container"):
        elsewhere.import_container(place / "one.dsvd")
    assert elsewhere.signers("one") == []


def test_export_over_what_is_there(registry: Registry, keys: Path, place: Path) -> None:
    """An old file of signatures would be taken for the new container's."""
    sig = place / "one.dsvd.sig"
    sig.write_bytes(b"something else")
    with pytest.raises(Conflict):
        registry.export_container(ONE, place / "one.dsvd")
    assert sig.read_bytes() == b"something else"
    assert not (place / "one.dsvd").exists()
    registry.export_container(ONE, place / "one.dsvd", replace=True)
    assert not sig.exists()
    registry.sign(ONE, keys / "alice.pem")
    with pytest.raises(Conflict):
        registry.export_container(ONE, place / "one.dsvd")
    registry.export_container(ONE, place / "one.dsvd", replace=True)
    assert sig.exists()
    sig.unlink()
    sig.mkdir()
    with pytest.raises(InvalidArgument):
        registry.export_container(ONE, place / "one.dsvd", replace=True)


def test_a_version_that_is_gone_cannot_be_signed(registry: Registry, keys: Path) -> None:
    registry.remove_version(ONE)
    with pytest.raises(NotFound):
        registry.sign(ONE, keys / "alice.pem")
    with pytest.raises(NotFound):
        registry.signers(ONE)
