"""The repository: one value for everything that a registry is made of, which every verb takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..errors import BaseMismatch, CheckpointError, DsvdError, NotFound, RegistryError
from ..fs import storage_errors
from ..store import ObjectStore, RegistryFolder

if TYPE_CHECKING:  # numpy, which listing versions need not wait for
    from ..checkpoint import Checkpoint
    from ..checkpoint.folder import FolderFiles
    from ..checkpoint.tree import ListedFile
    from ..container.reader import Container
    from ..reconstruction.base_weights import BaseWeights, Manifest


@dataclass(frozen=True)
class Repository:
    """The folder that a registry lies in, the catalog of its names, and its objects.

    It opens what the catalog names. Besides what each method names, all raise `RegistryError` for
    damage and `StorageError` where the operating system refuses.
    """

    home: RegistryFolder
    catalog: Catalog
    objects: ObjectStore

    def open_container(self, version: VersionRecord) -> Container:
        """The container of a version; close it. Raises `ContainerError`."""
        from ..container.reader import Container

        return Container(self.objects.path(version.container))

    @contextlib.contextmanager
    def open_version(self, version: VersionRecord) -> Iterator[tuple[Container, BaseWeights]]:
        """The container of a version and the base that it needs. Raises as what opens each."""
        base = self.base_of(version)
        with self.open_container(version) as container, self.open_base(base) as weights:
            yield container, weights

    def base_of(self, version: VersionRecord) -> BaseRecord:
        """The base that a version needs.

        Raises `BaseMismatch`, which names its digest and the bases that are there.
        """
        try:
            return self.catalog.base(version.base)
        except NotFound:
            raise BaseMismatch(
                f"{version.ref} needs the base {version.base}; the registry has {self.base_names()}",
                "Add that base with `dsvd base add NAME FILE`.",
            ) from None

    def base_names(self) -> str:
        """Every base with its digest, for a message; "none" without any."""
        named = (f"{base.name} ({base.digest})" for base in self.catalog.bases())
        return ", ".join(named) or "none"

    def manifest(self, base: BaseRecord) -> Manifest:
        """The fingerprints of a base's tensors. Raises `RegistryError` if they are another base's."""
        from ..reconstruction.base_weights import Manifest

        path = self._checked(base.manifest)
        with storage_errors(path):
            data = path.read_bytes()
        manifest = Manifest.from_bytes(data, str(path))
        if manifest.digest != base.digest:
            raise RegistryError(f"the manifest of the base {base.name!r} is of another base")
        return manifest

    def open_base(self, base: BaseRecord) -> BaseWeights:
        """The weights of a base, each tensor of which is compared with its SHA-256 as it is read.

        Raises `BaseMismatch` if they cannot be read.
        """
        from ..reconstruction.base_weights import BaseWeights

        manifest = self.manifest(base)
        try:
            checkpoint = self.open_base_checkpoint(base, manifest)
        except DsvdError as error:
            raise BaseMismatch(
                f"the base {base.name!r} cannot be read: {error}",
                "Put its file back, or add the base again with `dsvd base add`.",
            ) from error
        return BaseWeights(checkpoint, manifest, base.name)

    def open_base_checkpoint(
        self, base: BaseRecord, manifest: Manifest | None = None
    ) -> Checkpoint:
        """The file or folder of a base, whose bytes are not compared with anything.

        Of several ways to read a folder (see `_readings`) the first that gives all tensors of the
        `manifest`. Raises `BaseMismatch` if it is gone, `CheckpointError`.
        """
        from ..checkpoint import open_checkpoint
        from ..checkpoint.folder import FolderCheckpoint, is_checkpoint_folder

        place = self._place(base)
        if not base.is_folder or (base.link is not None and not is_checkpoint_folder(place)):
            return open_checkpoint(place)
        *readings, as_once = self._readings(base, place)
        for files in readings:
            checkpoint = FolderCheckpoint(place, files)
            if manifest is None or all(t.name in checkpoint.tensors for t in manifest.tensors):
                return checkpoint
            checkpoint.close()
        return FolderCheckpoint(place, as_once)

    def _readings(self, base: BaseRecord, place: Path) -> Iterator[FolderFiles]:
        """The ways in which the files of a folder may have been taken when it was added."""
        from ..checkpoint.folder import linked_files, stored_files

        if base.link is not None:
            yield from linked_files(place)
            return
        listed = {file.path: file for file in self.listing(base)}
        places = {path: self.objects.path(file.sha256) for path, file in listed.items()}
        yield from stored_files(places, listed)

    def _place(self, base: BaseRecord) -> Path:
        return self.objects.path(base.file) if base.link is None else _linked(base, base.link)

    def listing(self, base: BaseRecord) -> tuple[ListedFile, ...]:
        """The files of a base that is a folder in the store. Raises `RegistryError` for damage."""
        from ..checkpoint.folder_listing import parse_listing

        path = self._checked(base.file)
        try:
            with storage_errors(path):
                return parse_listing(path.read_bytes())
        except CheckpointError as error:
            raise RegistryError(f"the listing of the base {base.name!r}: {error}") from error

    def _checked(self, sha256: str) -> Path:
        """The place of an object whose bytes have been compared with its name."""
        self.objects.check(sha256)
        return self.objects.path(sha256)


def _linked(base: BaseRecord, link: Path) -> Path:
    if not os.path.exists(link):  # noqa: PTH110 - answers no where Path raises
        raise BaseMismatch(
            f"the base {base.name!r} ({base.digest}) is linked to {link}, which is gone",
            "Put the file back, or add the base again with `dsvd base add`.",
        )
    return link
