"""The objects that go from one registry to another: where their bytes are read, and how they come in.

An object is hashed as it is copied, and named by its SHA-256. What a killed copy has stored is no
object yet; what it has finished is found by the next run, which does not copy it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...catalog import BaseRecord, WholeVersion
from ...checkpoint.folder_listing import listing_bytes
from ...errors import BaseMismatch, CheckpointError, RegistryError
from ...fs import Bytes, storage_errors
from ...hashing import sha256
from ...progress import Meter, Progress
from ...store import ObjectStore
from ...store.objects import COPY_CHUNK
from ..adding.fingerprint import listed_files
from ..repository import Repository
from ..upkeep.references import ReferencedObject, objects_of_base, objects_of_version


@dataclass(frozen=True)
class TravellingObject:
    """An object for another registry. `what`: its description, for errors. `chunks`: reads it."""

    sha256: str
    size: int
    what: str
    chunks: Callable[[], Generator[Bytes, None, None]]


def objects_of(whole: WholeVersion, source: Repository) -> Iterator[TravellingObject]:
    """The objects of a version, or of a part of it. Raises `RegistryError` if one is missing."""
    for found in objects_of_version(whole.record, whole.signatures, whole.attachments):
        yield stored_object(found, f"the {found.kind} of {whole.record.ref}", source)


def objects_of_added_base(
    base: BaseRecord, source: Repository, progress: Progress
) -> Iterator[TravellingObject]:
    """The objects that a base is made of in another registry, which has a copy of what is linked here.

    Raises `RegistryError` for a missing object, `BaseMismatch` if a linked file is gone or changed.
    """
    for found in objects_of_base(base, source):
        yield stored_object(found, f"the {found.kind} of the base {base.name}", source)
    if base.link is not None:
        yield from _linked(base, base.link, source, progress)


def stored_object(found: ReferencedObject, what: str, source: Repository) -> TravellingObject:
    """An object of the store of `source`. Raises `RegistryError` if one of unknown size is missing."""
    digest = found.sha256
    size = source.objects.size(digest) if found.size is None else found.size
    return TravellingObject(digest, size, what, partial(source.objects.chunks, digest))


def _linked(
    base: BaseRecord, link: Path, source: Repository, progress: Progress
) -> Iterator[TravellingObject]:
    """The linked file of a base, or the files of its folder and their listing."""
    try:
        with source.open_base_checkpoint(base, source.manifest(base)) as checkpoint:
            tree = checkpoint.tree
            if tree is None:
                what = f"{checkpoint.path}, which the base {base.name} is linked to"
                yield TravellingObject(base.file, base.size, what, partial(_chunks, link))
                return
            listed = listed_files(tree, source.catalog, progress)
    except CheckpointError as error:
        raise BaseMismatch(
            f"the base {base.name} cannot be read: {error}",
            "Put its files back, then run this again.",
        ) from error
    listing = listing_bytes(listed)
    if sha256(listing) != base.file:
        raise BaseMismatch(
            f"the folder {link}, which the base {base.name} is linked to, has other files than when the "
            "base was added",
            f"Add it again: `dsvd base add {base.name} {link} --link`.",
        )
    for file in listed:
        place = tree.places[file.path]
        yield TravellingObject(file.sha256, file.size, str(place), partial(_chunks, place))
    what = f"the listing of the base {base.name}"
    yield TravellingObject(base.file, len(listing), what, lambda: (part for part in (listing,)))


def copy_across(moved: TravellingObject, target: ObjectStore, meter: Meter) -> None:
    """Store an object. Raises `RegistryError` for other bytes than its own; then nothing is stored."""
    with target.new_object() as writer:
        with contextlib.closing(moved.chunks()) as chunks:
            for chunk in chunks:
                writer.write(chunk)
                meter.advance(len(chunk))
        if writer.sha256 != moved.sha256:
            raise RegistryError(
                f"object {moved.sha256}, {moved.what}, is damaged: its bytes have the SHA-256 "
                f"{writer.sha256}",
                "Nothing was recorded. Repair it where it is from: `dsvd verify --all --repair`.",
            )
        writer.commit()


def _chunks(place: Path) -> Generator[Bytes, None, None]:
    with storage_errors(place), place.open("rb") as file:
        while chunk := file.read(COPY_CHUNK):
            yield chunk
