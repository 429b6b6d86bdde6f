"""Signatures of versions: made, kept as objects, looked through, and sent along with a container."""

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
from .findings import Finding
from .repository import Repository

if TYPE_CHECKING:
    from ..signing.keys import PrivateKey

SUFFIX = ".sig"


@dataclass(frozen=True)
class Signer:
    """Whose signature a version has on record; only `verify` says whether it is valid."""

    fingerprint: str
    added: datetime


@dataclass(frozen=True)
class Signed:
    """A signature that a version has. `created`: whether it was not there yet."""

    ref: str
    signer: str
    signature: str
    created: bool


def sign(version: VersionRecord, key: PrivateKey, repository: Repository) -> Signed:
    """Sign a version, whose container is read whole before.

    Raises `RegistryError` where that is damaged, `ContainerError`, `StorageError`.
    """
    repository.objects.check(version.container)
    with repository.open_container(version) as container:
        statement = statement_of(container.header, version.container)
    return attach(version, key.sign(statement), repository)


def attach(version: VersionRecord, signature: Signature, repository: Repository) -> Signed:
    """Keep a signature, which the caller has checked, with its version."""
    stored = repository.objects.put(signature.encode())
    created = repository.catalog.add_signature(
        version.model,
        version.number,
        signer=signature.key.sha256,
        signature=stored.sha256,
        confirm=lambda: repository.objects.path(stored.sha256),
    )
    return Signed(version.ref, signature.key.fingerprint, stored.sha256, created)


def signers(records: Iterable[SignatureRecord]) -> list[Signer]:
    """Who signed, as it is on record."""
    return [Signer(fingerprint(record.signer), record.added) for record in records]


def signature_findings(
    versions: Sequence[VersionRecord],
    records: Iterable[SignatureRecord],
    signer: PublicKey | None,
    repository: Repository,
) -> Iterator[Finding]:
    """What is wrong with the signatures of `versions`; with `signer`, those that lack its own.

    That a container has the bytes that its name says is for `verify` to find.
    """
    of_version: dict[str, list[SignatureRecord]] = defaultdict(list)
    for record in records:
        of_version[f"{record.model}@{record.number}"].append(record)
    for version in versions:
        own = of_version[version.ref]
        valid = set()
        for record in own:
            try:
                _check(version, record, repository)
                valid.add(record.signer)
            except DsvdError as error:
                yield Finding((version.ref,), f"{_named(record)}: {error}")
        if signer is not None and signer.sha256 not in valid:
            problem = f"there is no valid signature by {signer.fingerprint}"
            yield Finding((version.ref,), problem)


def signatures_of(records: Iterable[SignatureRecord], repository: Repository) -> list[Signature]:
    """The signatures themselves. Raises `RegistryError`, `SignatureError`, `StorageError`."""
    return [_read(record, repository) for record in records]


def beside(file: Path) -> Path:
    """Where the signatures of the container `file` lie."""
    return file.with_name(file.name + SUFFIX)


def write_beside(file: Path, signatures: Sequence[Signature], *, replace: bool) -> Path | None:
    """Write the signatures of a container beside it; with none, those of a former file go.

    Raises `Conflict` if they exist and `replace` is false, `StorageError`.
    """
    place = beside(file)
    if signatures:
        fs.write_file(place, encode_several(signatures), replace=replace)
        return place
    if replace:
        fs.remove_file(place)
    return None


def read_beside(file: Path, statement: bytes) -> tuple[Signature, ...]:
    """The signatures beside a container, none if there is no such file; all of them are valid.

    Raises `SignatureError` for a file that is damaged and a signature that is not valid or not of
    `statement`, `MissingExtra`, `StorageError`.
    """
    place = beside(file)
    with storage_errors(place):
        try:
            with place.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return ()
    signatures = decode_several(data, str(place))
    for signature in signatures:
        signature.check(statement, f"the signature by {signature.key.fingerprint} in {place}")
    return signatures


def _check(version: VersionRecord, record: SignatureRecord, repository: Repository) -> None:
    signature = _read(record, repository)
    with repository.open_container(version) as container:
        statement = statement_of(container.header, version.container)
    signature.check(statement, "it")


def _read(record: SignatureRecord, repository: Repository) -> Signature:
    repository.objects.check(record.signature)
    path = repository.objects.path(record.signature)
    with storage_errors(path), path.open("rb") as file:
        signature = decode(file.read(MAX_BYTES + 1), f"object {record.signature}")
    if signature.key.sha256 != record.signer:
        raise RegistryError(
            f"object {record.signature} is a signature by {signature.key.fingerprint}",
            "Sign the version again.",
        )
    return signature


def _named(record: SignatureRecord) -> str:
    return f"the signature by {fingerprint(record.signer)}"
