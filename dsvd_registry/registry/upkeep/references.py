"""The objects that versions and bases are made of: the list by which damage is repaired.

Garbage collection gets the same set from the database (`catalog.queries.referenced_objects`), which
takes less time; a test compares the two. A new kind of object must be added to both, and to `verify`.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ...catalog import AttachmentRecord, BaseRecord, SignatureRecord, VersionRecord
from ...errors import DsvdError
from ..repository import Repository

MANIFEST, LISTING, SIGNATURE = "manifest", "listing", "signature"


@dataclass(frozen=True)
class ReferencedObject:
    """An object that a version or base needs.

    `kind`: such as "container". `size`: bytes, None if they are not recorded. `subjects`: the
    versions and bases that need it.
    """

    sha256: str
    kind: str
    size: int | None
    subjects: tuple[str, ...] = ()


def referenced_objects(repository: Repository) -> dict[str, ReferencedObject]:
    """Every object that a live version or a base needs, by its digest.

    The files of a folder with a lost listing are missing: only the listing names them.
    """
    versions = repository.catalog.versions()
    signatures: dict[str, list[SignatureRecord]] = defaultdict(list)
    for record in repository.catalog.signatures():
        signatures[f"{record.model}@{record.number}"].append(record)
    attachments: dict[str, list[AttachmentRecord]] = defaultdict(list)
    for attachment in repository.catalog.attachments():
        attachments[f"{attachment.model}@{attachment.number}"].append(attachment)
    found: dict[str, ReferencedObject] = {}
    for base in repository.catalog.bases():
        subjects = (f"base {base.name}", *(v.ref for v in versions if v.base == base.digest))
        _merge(found, objects_of_base(base, repository), subjects)
    for version in versions:
        objects = objects_of_version(version, signatures[version.ref], attachments[version.ref])
        _merge(found, objects, (version.ref,))
    return found


def objects_of_version(
    version: VersionRecord,
    signatures: Iterable[SignatureRecord],
    attachments: Iterable[AttachmentRecord],
) -> Iterator[ReferencedObject]:
    """The objects that a version is made of, without those of its base."""
    yield ReferencedObject(version.container, "container", version.size)
    if version.residual is not None:
        yield ReferencedObject(version.residual.sha256, "residual", version.residual.size)
    if version.original is not None:
        yield ReferencedObject(version.original.sha256, "original", version.original.size)
    for record in signatures:
        yield ReferencedObject(record.signature, SIGNATURE, None)
    for attachment in attachments:
        yield ReferencedObject(attachment.sha256, "attachment", attachment.size)


def objects_of_base(base: BaseRecord, repository: Repository) -> Iterator[ReferencedObject]:
    """The objects that a base is made of. Only the manifest of a linked base is in the store."""
    yield ReferencedObject(base.manifest, MANIFEST, None)
    if base.link is not None:
        return
    if not base.is_folder:
        yield ReferencedObject(base.file, "base", base.size)
        return
    yield ReferencedObject(base.file, LISTING, None)
    with contextlib.suppress(DsvdError):  # the damage of a listing is reported for its own object
        for file in repository.listing(base):
            yield ReferencedObject(file.sha256, "file of a base", file.size)


def files_of_folders(repository: Repository) -> set[str]:
    """The digests of the files of all bases that are folders.

    Raises `RegistryError` if a listing is damaged.
    """
    folders = [base for base in repository.catalog.bases() if base.is_folder and base.link is None]
    if not folders:
        return set()
    return {file.sha256 for base in folders for file in repository.listing(base)}


def _merge(
    found: dict[str, ReferencedObject],
    objects: Iterable[ReferencedObject],
    subjects: tuple[str, ...],
) -> None:
    for needed in objects:
        known = found.get(needed.sha256, needed)
        unique = dict.fromkeys((*known.subjects, *subjects))
        found[needed.sha256] = replace(known, subjects=tuple(unique))
