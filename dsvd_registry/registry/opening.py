"""Opening what the catalog names: containers and bases of the store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..catalog import BaseRecord, CachedFingerprint, Catalog, FileState, VersionRecord
from ..checkpoint import open_checkpoint
from ..container.reader import Container
from ..errors import BaseMismatch, NotFound, RegistryError, StorageError
from ..fs import storage_errors
from ..hashing import sha256_file
from ..progress import Meter, Progress, silent
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
    """The weights of a base, each tensor of which is compared with its SHA-256 as it is read."""
    return BaseWeights(base_file(base, objects), read_manifest(base, objects), base.name)


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


@contextlib.contextmanager
def unchanging(path: Path) -> Iterator[None]:
    """Raises `StorageError` if another program changes the file while it is read here, in parts."""
    before = FileState.of(path)
    yield
    if FileState.of(path) != before:
        raise StorageError(
            f"{path} was changed while it was read", "Run it again when the file is complete."
        )


def file_sha256(path: Path, catalog: Catalog, progress: Progress = silent) -> str:
    """SHA-256 of a file, remembered by path, size, time and inode. Raises `StorageError`."""
    state = FileState.of(path)
    known = catalog.cached_fingerprint(state)
    if known is not None:
        return known.sha256
    found = sha256_file(path, Meter(progress, "hashing", state.size).advance)
    catalog.remember_fingerprint(state, CachedFingerprint(found, None))
    return found


def fingerprint_checkpoint(path: Path, progress: Progress) -> tuple[Manifest, str, int]:
    """The manifest, format and size of a checkpoint to be a base. Raises `CheckpointError`."""
    with open_checkpoint(path) as checkpoint:
        total = sum(info.nbytes for info in checkpoint.tensors.values())
        meter = Meter(progress, "hashing tensors", total)
        manifest = Manifest(tuple(checkpoint.fingerprints(meter.advance)))
        return manifest, checkpoint.format, FileState.of(path).size
