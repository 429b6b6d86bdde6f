"""Where the bytes of lost objects may be had: files to copy, and what can be computed anew.

Whatever comes from here is no more than a proposal: it is an object's bytes if it has its SHA-256.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..catalog import BaseRecord
from ..checkpoint import open_checkpoint
from ..checkpoint.folder import is_checkpoint_folder
from ..checkpoint.folder_listing import listing_bytes
from ..errors import DsvdError, InvalidArgument
from ..fs import storage_errors
from ..hashing import sha256_file
from ..progress import Meter, Progress, silent
from ..signing.signature import MAX_BYTES, decode_several
from ..store import event_json
from .fingerprint import fingerprint_checkpoint, listed_files
from .references import LISTING, SIGNATURE, Need
from .repository import Repository
from .signing import SUFFIX

LOOKING = "looking for good bytes"


@dataclass(frozen=True)
class Proposal:
    """Bytes, and where they are from."""

    data: bytes
    origin: str


def checked_sources(sources: Iterable[str | Path]) -> tuple[Path, ...]:
    """Raises `InvalidArgument` for one that is not there."""
    found = tuple(map(Path, sources))
    for path in found:
        with storage_errors(path):
            if not path.exists():
                raise InvalidArgument(f"{path} is not there", "Give a file or a folder.")
    return found


def files_below(places: Iterable[Path]) -> Iterator[Path]:
    """The plain files that are given, or lie in folders that are. What cannot be listed is left out."""
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
    places: tuple[Path, ...], wanted: Iterable[Need], progress: Progress
) -> Iterator[tuple[Need, Path]]:
    """The files with the SHA-256 of an object that is wanted, one for each object.

    Only those are hashed that have the size of one, or are small enough for one of unknown size.
    """
    left = {need.sha256: need for need in wanted}
    sizes = {need.size for need in left.values()}
    files = [(path, size) for path, size in _sized(places) if _may_be_one(size, sizes)]
    meter = Meter(progress, LOOKING, sum(size for _, size in files))
    for path, size in files:
        if left:
            with contextlib.suppress(DsvdError):  # a file that cannot be read is not what is wanted
                need = left.pop(sha256_file(path), None)
                if need is not None:
                    yield need, path
        meter.advance(size)


def proposals(
    places: tuple[Path, ...],
    wanted: Mapping[str, Need],
    repository: Repository,
) -> Iterator[Proposal]:
    """What may be the bytes of manifests, listings and signatures that are wanted."""
    kinds = {need.what for need in wanted.values()}
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
    return size in sizes or (None in sizes and size <= event_json.LIMIT)


def _manifest(base: BaseRecord, repository: Repository) -> Iterator[Proposal]:
    with contextlib.suppress(DsvdError), repository.open_base_checkpoint(base) as checkpoint:
        manifest = fingerprint_checkpoint(checkpoint, silent)
        yield Proposal(manifest.to_bytes(), f"made anew from the base {base.name}")


def _listings(place: Path, repository: Repository) -> Iterator[Proposal]:
    """Of the folder, and of those in it, that are checkpoints."""
    for folder, _, _ in os.walk(place):
        with contextlib.suppress(DsvdError):
            if is_checkpoint_folder(Path(folder)):
                for keep_extras in (False, True):
                    with open_checkpoint(Path(folder), keep_extras=keep_extras) as checkpoint:
                        if checkpoint.tree is not None:
                            listed = listed_files(checkpoint.tree, repository.catalog, silent)
                            yield Proposal(listing_bytes(listed), f"made anew from {folder}")


def _signatures(place: Path) -> Iterator[Proposal]:
    """Those in files that lie beside exported containers."""
    for path in files_below([place]):
        if path.name.endswith(SUFFIX):
            with contextlib.suppress(DsvdError, OSError):
                with path.open("rb") as file:
                    data = file.read(MAX_BYTES + 1)
                for signature in decode_several(data, str(path)):
                    yield Proposal(signature.encode(), str(path))
