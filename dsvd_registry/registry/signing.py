"""The signatures of versions: made, stored as objects, checked, and exported with a container."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import fs
from ..catalog import SignatureRecord, VersionRecord
from ..errors import DsvdError, RegistryError
from ..fs import storage_errors
from ..signing import PublicKey, Signature, fingerprint, statement_of
from ..signing.signature import MAX_BYTES, decode, decode_several, encode_several
from .repository import Repository
from .upkeep.findings import Finding, problem_of

if TYPE_CHECKING:
    from ..signing.keys import PrivateKey

SUFFIX = ".sig"


@dataclass(frozen=True)
class Signer:
    """A key that a version has a signature of; only `verify` checks if the signature is valid.

    `fingerprint`: of the public key, as OpenSSH writes it.
    """

    fingerprint: str
    added: datetime


@dataclass(frozen=True)
class Signed:
    """A signature of a version. `created`: False if the version had it already.

    `signer`: the fingerprint of the public key. `signature`: the SHA-256 of the object.
    """

    ref: str
    signer: str
    signature: str
    created: bool


def sign(version: VersionRecord, key: PrivateKey, repository: Repository) -> Signed:
    """Sign a version after its container was read whole.

    Raises `RegistryError` if the container is damaged, `ContainerError`, `StorageError`.
    """
    repository.objects.check(version.container)
    with repository.open_container(version) as container:
        statement = statement_of(container.header, version.container)
    return attach_signature(version, key.sign(statement), repository)


def attach_signature(
    version: VersionRecord, signature: Signature, repository: Repository
) -> Signed:
    """Store a signature, which the caller has checked, and record it for its version."""
    stored = repository.objects.put(signature.encode())
    created = repository.catalog.add_signature(
        version.model,
        version.number,
        signer=signature.key.sha256,
        signature=stored.sha256,
        confirm=lambda: repository.objects.require(stored.sha256),
    )
    return Signed(version.ref, signature.key.fingerprint, stored.sha256, created)


def public_key_at(path: str | Path | None) -> PublicKey | None:
    """The public key in a file; None without one. Raises as `read_public_key` does."""
    if path is None:
        return None
    from ..signing.keys import read_public_key

    return read_public_key(Path(path))


def signers(records: Iterable[SignatureRecord]) -> list[Signer]:
    """The signers in these records."""
    return [Signer(fingerprint(record.signer), record.added) for record in records]


def signature_findings(
    versions: Sequence[VersionRecord],
    records: Iterable[SignatureRecord],
    signer: PublicKey | None,
    repository: Repository,
) -> Iterator[Finding]:
    """The problems of the signatures of `versions`; with `signer`, also the versions that lack its.

    `verify` compares the bytes of containers with their SHA-256.
    """
    by_version: dict[str, list[SignatureRecord]] = defaultdict(list)
    for record in records:
        by_version[f"{record.model}@{record.number}"].append(record)
    for version in versions:
        valid = set()
        for record in by_version[version.ref]:
            try:
                check_signature(version, record, repository, "it")
                valid.add(record.signer)
            except DsvdError as error:
                yield Finding((version.ref,), f"{_named(record)}: {problem_of(error)}")
        if signer is not None and signer.sha256 not in valid:
            problem = f"there is no valid signature by {signer.fingerprint}"
            yield Finding((version.ref,), problem)


def signatures_of(records: Iterable[SignatureRecord], repository: Repository) -> list[Signature]:
    """Read the signatures of these records. Raises `RegistryError`, `SignatureError`, `StorageError`."""
    return [_read(record, repository) for record in records]


def signature_path(file: Path) -> Path:
    """The path of the signature file that belongs to the container `file`."""
    return file.with_name(file.name + SUFFIX)


def export_signatures(file: Path, signatures: Sequence[Signature], *, replace: bool) -> Path | None:
    """Write the signature file of the container `file`; gives its path, None without signatures.

    Without signatures, and with `replace`, an older signature file is removed. Raises `Conflict` if
    the file exists and `replace` is false, `StorageError`.
    """
    path = signature_path(file)
    if signatures:
        fs.write_file(path, encode_several(signatures), replace=replace)
        return path
    if replace:
        fs.remove_file(path)
    return None


def read_signature_file(file: Path, statement: bytes) -> tuple[Signature, ...]:
    """Read and check the signature file of the container `file`; none if there is no such file.

    Raises `SignatureError` if the file is damaged, or if a signature is not valid or not of
    `statement`; `MissingExtra`, `StorageError`.
    """
    path = signature_path(file)
    with storage_errors(path):
        try:
            with path.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return ()
    signatures = decode_several(data, str(path))
    for signature in signatures:
        signature.check(statement, f"the signature by {signature.key.fingerprint} in {path}")
    return signatures


def check_signature(
    version: VersionRecord, record: SignatureRecord, repository: Repository, where: str
) -> None:
    """Check a recorded signature; `where` names it in errors.

    Raises `SignatureError` if it is damaged, not valid or of another container; `RegistryError`,
    `MissingExtra`, `StorageError`.
    """
    signature = _read(record, repository)
    with repository.open_container(version) as container:
        statement = statement_of(container.header, version.container)
    signature.check(statement, where)


def _read(record: SignatureRecord, repository: Repository) -> Signature:
    data = repository.objects.read(record.signature)
    signature = decode(data, f"object {record.signature}")
    if signature.key.sha256 != record.signer:
        raise RegistryError(
            f"object {record.signature} is a signature by {signature.key.fingerprint}",
            "Sign the version again.",
        )
    return signature


def _named(record: SignatureRecord) -> str:
    return f"the signature by {fingerprint(record.signer)}"
