"""Opening what the catalog names: containers and bases of the store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..checkpoint import Checkpoint, open_checkpoint
from ..checkpoint.folder import (
    FolderCheckpoint,
    FolderFiles,
    is_checkpoint_folder,
    linked_files,
    stored_files,
)
from ..checkpoint.listing import parse_listing
from ..checkpoint.tree import ListedFile
from ..container.reader import Container
from ..errors import (
    BaseMismatch,
    CheckpointError,
    DsvdError,
    NotFound,
    RegistryError,
)
from ..fs import storage_errors
from ..reconstruction.base_weights import BaseWeights, Manifest
from ..store import ObjectStore


def open_container(version: VersionRecord, objects: ObjectStore) -> Container:
    """The container of a version. Raises `ContainerError`, `RegistryError`, `StorageError`."""
    return Container(objects.path(version.container))


def read_manifest(base: BaseRecord, objects: ObjectStore) -> Manifest:
    """The manifest of a base. Raises `RegistryError` if it is damaged or another base's."""
    objects.check(base.manifest)
    path = objects.path(base.manifest)
    with storage_errors(path):
        data = path.read_bytes()
    manifest = Manifest.from_bytes(data, str(path))
    if manifest.digest != base.digest:
        raise RegistryError(f"the manifest of the base {base.name!r} is of another base")
    return manifest


def base_file(base: BaseRecord, objects: ObjectStore) -> Path:
    """Where the weights of a base lie. Raises `BaseMismatch` if they are gone."""
    if base.link is None:
        return objects.path(base.file)
    if not os.path.exists(base.link):  # noqa: PTH110 - answers no where Path raises
        raise BaseMismatch(
            f"the base {base.name!r} ({base.digest}) is linked to {base.link}, which is gone",
            "Put the file back, or add the base again with `dsvd base add`.",
        )
    return base.link


def open_base(base: BaseRecord, objects: ObjectStore) -> BaseWeights:
    """The weights of a base, each tensor of which is compared with its SHA-256 as it is read.

    Raises `BaseMismatch` if they cannot be read, `RegistryError`.
    """
    manifest = read_manifest(base, objects)
    try:
        checkpoint = open_base_checkpoint(base, objects, manifest)
    except DsvdError as error:
        raise BaseMismatch(
            f"the base {base.name!r} cannot be read: {error}",
            "Put its file back, or add the base again with `dsvd base add`.",
        ) from error
    return BaseWeights(checkpoint, manifest, base.name)


def open_base_checkpoint(
    base: BaseRecord, objects: ObjectStore, manifest: Manifest | None = None
) -> Checkpoint:
    """The file or folder of a base. Raises `BaseMismatch` if it is gone, `CheckpointError`.

    Of a folder every file of tensors was taken once, whatever the folder said of it: by the names of
    the `manifest` a base that was added so is told, and read so again.
    """
    place = base_file(base, objects)
    if not base.is_folder or (base.link is not None and not is_checkpoint_folder(place)):
        return open_checkpoint(place)
    *readings, as_once = _readings(base, place, objects)
    for files in readings:
        checkpoint = FolderCheckpoint(place, files)
        if manifest is None or all(t.name in checkpoint.tensors for t in manifest.tensors):
            return checkpoint
        checkpoint.close()
    return FolderCheckpoint(place, as_once)


def _readings(base: BaseRecord, place: Path, objects: ObjectStore) -> Iterator[FolderFiles]:
    if base.link is not None:
        yield from linked_files(place)
        return
    listed = {file.path: file for file in stored_listing(base, objects)}
    yield from stored_files({path: objects.path(f.sha256) for path, f in listed.items()}, listed)


def stored_listing(base: BaseRecord, objects: ObjectStore) -> tuple[ListedFile, ...]:
    """The files of a base that is a folder in the store. Raises `RegistryError` for damage."""
    objects.check(base.file)
    path = objects.path(base.file)
    try:
        with storage_errors(path):
            return parse_listing(path.read_bytes())
    except CheckpointError as error:
        raise RegistryError(f"the listing of the base {base.name!r}: {error}") from error


def base_of(version: VersionRecord, catalog: Catalog) -> BaseRecord:
    """The base that a version needs. Raises `BaseMismatch` naming its digest and those there are."""
    try:
        return catalog.base(version.base)
    except NotFound:
        there = ", ".join(f"{base.name} ({base.digest})" for base in catalog.bases()) or "none"
        raise BaseMismatch(
            f"{version.ref} needs the base {version.base}; the registry has {there}",
            "Add that base with `dsvd base add NAME FILE`.",
        ) from None


@contextlib.contextmanager
def open_version(
    version: VersionRecord, catalog: Catalog, objects: ObjectStore
) -> Iterator[tuple[Container, BaseWeights]]:
    """The container of a version and the base that it needs. Raises as what opens each."""
    base = base_of(version, catalog)
    with open_container(version, objects) as container, open_base(base, objects) as weights:
        yield container, weights
