"""Which objects versions and bases are made of: the one list that repairing goes by.

Garbage collection asks the database for the same set (`catalog.queries.referenced_objects`), which
takes less time; a test holds the two together. What a version or base comes to need is added to
both, and to what `verify` looks at.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..catalog import BaseRecord, SignatureRecord, VersionRecord
from ..errors import DsvdError
from .repository import Repository

MANIFEST, LISTING, SIGNATURE = "manifest", "listing", "signature"


@dataclass(frozen=True)
class Need:
    """An object: what it is, its size where that is on record, and the versions and bases it hits."""

    sha256: str
    what: str
    size: int | None
    subjects: tuple[str, ...] = ()


def needs(repository: Repository) -> dict[str, Need]:
    """Every object that a live version or a base needs, by its digest.

    The files of a folder whose listing is lost are not among them: nothing else names them.
    """
    versions = repository.catalog.versions()
    signatures: dict[str, list[SignatureRecord]] = defaultdict(list)
    for record in repository.catalog.signatures():
        signatures[f"{record.model}@{record.number}"].append(record)
    found: dict[str, Need] = {}
    for base in repository.catalog.bases():
        hit = (f"base {base.name}", *(v.ref for v in versions if v.base == base.digest))
        _put_down(found, of_base(base, repository), hit)
    for version in versions:
        _put_down(found, of_version(version, signatures[version.ref]), (version.ref,))
    return found


def of_version(version: VersionRecord, signatures: Iterable[SignatureRecord]) -> Iterator[Need]:
    """The objects that a version is made of, besides its base's."""
    yield Need(version.container, "container", version.size)
    if version.residual is not None:
        yield Need(version.residual.sha256, "residual", version.residual.size)
    for record in signatures:
        yield Need(record.signature, SIGNATURE, None)


def of_base(base: BaseRecord, repository: Repository) -> Iterator[Need]:
    """The objects that a base is made of. A linked one has its manifest alone in the store."""
    yield Need(base.manifest, MANIFEST, None)
    if base.link is not None:
        return
    if not base.is_folder:
        yield Need(base.file, "base", base.size)
        return
    yield Need(base.file, LISTING, None)
    with contextlib.suppress(DsvdError):  # a damaged listing is found as an object, too
        for file in repository.listing(base):
            yield Need(file.sha256, "file of a base", file.size)


def files_of_folders(repository: Repository) -> set[str]:
    """The objects of bases that are folders, by digest.

    Raises `RegistryError` where a listing is damaged.
    """
    folders = [base for base in repository.catalog.bases() if base.is_folder and base.link is None]
    if not folders:
        return set()
    return {file.sha256 for base in folders for file in repository.listing(base)}


def _put_down(found: dict[str, Need], needs: Iterable[Need], subjects: tuple[str, ...]) -> None:
    for need in needs:
        known = found.get(need.sha256, need)
        named = dict.fromkeys((*known.subjects, *subjects))  # each once, in order
        found[need.sha256] = replace(known, subjects=tuple(named))
