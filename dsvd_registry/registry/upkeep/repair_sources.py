"""Sources of the bytes of lost objects: files to copy, and objects that can be computed again.

Bytes from here are proposals only: they are those of an object if they have its SHA-256.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import canonical
from ...catalog import BaseRecord
from ...checkpoint import open_checkpoint
from ...checkpoint.folder import is_checkpoint_folder
from ...checkpoint.folder_listing import listing_bytes
from ...errors import DsvdError, InvalidArgument
from ...fs import storage_errors
from ...hashing import sha256_file
from ...progress import Meter, Progress, silent
from ...signing.signature import MAX_BYTES, decode_several
from ..adding.fingerprint import fingerprint_checkpoint, listed_files
from ..repository import Repository
from ..signing import SUFFIX
from .references import LISTING, SIGNATURE, ReferencedObject

LOOKING = "looking for good bytes"


@dataclass(frozen=True)
class Proposal:
    """Bytes that may be those of a lost object, and their origin, in words."""

    data: bytes
    origin: str


def checked_sources(sources: Iterable[str | Path]) -> tuple[Path, ...]:
    """The sources as paths. Raises `InvalidArgument` for one that does not exist."""
    paths = tuple(map(Path, sources))
    for path in paths:
        with storage_errors(path):
            if not path.exists():
                raise InvalidArgument(f"{path} does not exist", "Give a file or a folder.")
    return paths


def files_below(places: Iterable[Path]) -> Iterator[Path]:
    """The given plain files, and those in the given folders. Unreadable folders are left out."""
    for place in places:
        if place.is_file():
            yield place
        for folder, _, names in os.walk(place):
            for name in sorted(names):
                path = Path(folder, name)
                with contextlib.suppress(OSError):
                    if path.is_file():
                        yield path


def matching(
    places: tuple[Path, ...], wanted: Iterable[ReferencedObject], progress: Progress
) -> Iterator[tuple[ReferencedObject, Path]]:
    """Find a file with the SHA-256 of each wanted object.

    Only files with the size of such an object are hashed, or small ones if a size is unknown.
    """
    left = {wanted_object.sha256: wanted_object for wanted_object in wanted}
    sizes = {wanted_object.size for wanted_object in left.values()}
    files = [(path, size) for path, size in _sized(places) if _may_be_one(size, sizes)]
    meter = Meter(progress, LOOKING, sum(size for _, size in files))
    for path, size in files:
        if left:
            with contextlib.suppress(DsvdError):  # an unreadable file is of no use
                found = left.pop(sha256_file(path), None)
                if found is not None:
                    yield found, path
        meter.advance(size)


def proposals(
    places: tuple[Path, ...],
    wanted: Mapping[str, ReferencedObject],
    repository: Repository,
) -> Iterator[Proposal]:
    """Bytes that may be those of the wanted manifests, listings and signatures."""
    kinds = {wanted_object.kind for wanted_object in wanted.values()}
    for base in repository.catalog.bases():
        if base.manifest in wanted:
            yield from _manifest(base, repository)
    for place in places:
        if LISTING in kinds:
            yield from _listings(place, repository)
        if SIGNATURE in kinds:
            yield from _signatures(place)


def _sized(places: tuple[Path, ...]) -> Iterator[tuple[Path, int]]:
    for path in dict.fromkeys(files_below(places)):
        with contextlib.suppress(OSError):
            yield path, path.stat().st_size


def _may_be_one(size: int, sizes: set[int | None]) -> bool:
    return size in sizes or (None in sizes and size <= canonical.MAX_SMALL)


def _manifest(base: BaseRecord, repository: Repository) -> Iterator[Proposal]:
    with contextlib.suppress(DsvdError), repository.open_base_checkpoint(base) as checkpoint:
        manifest = fingerprint_checkpoint(checkpoint, silent)
        yield Proposal(manifest.to_bytes(), f"rebuilt from the base {base.name}")


def _listings(place: Path, repository: Repository) -> Iterator[Proposal]:
    """The listings of a folder and of all folders in it that are checkpoints."""
    for folder, _, _ in os.walk(place):
        with contextlib.suppress(DsvdError):
            if is_checkpoint_folder(Path(folder)):
                for keep_extras in (False, True):
                    with open_checkpoint(Path(folder), keep_extras=keep_extras) as checkpoint:
                        if checkpoint.tree is not None:
                            listed = listed_files(checkpoint.tree, repository.catalog, silent)
                            yield Proposal(listing_bytes(listed), f"rebuilt from {folder}")


def _signatures(place: Path) -> Iterator[Proposal]:
    """The signatures in the signature files of exported containers."""
    for path in files_below([place]):
        if path.name.endswith(SUFFIX):
            with contextlib.suppress(DsvdError, OSError):
                with path.open("rb") as file:
                    data = file.read(MAX_BYTES + 1)
                for signature in decode_several(data, str(path)):
                    yield Proposal(signature.encode(), str(path))
