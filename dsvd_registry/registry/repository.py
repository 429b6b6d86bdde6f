"""The repository: the open store and catalog of one registry, which every verb takes as one value."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import store
from ..catalog import BaseRecord, Catalog, VersionRecord
from ..errors import BaseMismatch, CheckpointError, DsvdError, NotFound, RegistryError, StorageError
from ..fs import make_folder
from ..store import Home, ObjectStore, bucket_url
from ..store.bucket_url import BucketUrl

if TYPE_CHECKING:  # numpy, which listing versions need not wait for
    from ..checkpoint import Checkpoint
    from ..checkpoint.folder import FolderFiles
    from ..checkpoint.tree import ListedFile
    from ..container.reader import Container
    from ..reconstruction.base_weights import BaseWeights, Manifest

CATALOG_VARIABLE = "DSVD_CATALOG"


@dataclass(frozen=True)
class Repository:
    """The home of a registry, its catalog of names, and its store of objects.

    Its methods open containers and bases by their catalog records. Besides the errors named at each
    method, all raise `RegistryError` for damage and `StorageError` if the operating system refuses.
    """

    home: Home
    catalog: Catalog
    objects: ObjectStore

    def open_container(self, version: VersionRecord, cached_bytes: int | None = None) -> Container:
        """Open the container of a version; the caller closes it. `cached_bytes`: see `Container`.

        Its header is compared with what the event log says of the version. Raises `ContainerError`.
        """
        from ..container.frames import CACHED_BYTES
        from ..container.reader import Container

        file = self.objects.open(version.container)
        container = Container(file, CACHED_BYTES if cached_bytes is None else cached_bytes)
        try:
            self._check_goes_with(version, container)
        except BaseException:
            container.close()
            raise
        return container

    def _check_goes_with(self, version: VersionRecord, container: Container) -> None:
        """Raise `RegistryError` for the container of another version in the place of its own.

        This is what binds a container to the log that is not read whole. Of a result with several
        thousand files not all digests are recorded.
        """
        header = container.header
        recorded = self.catalog.result_digests(version.container)
        results = {} if header.tree is None else {file.path: file.sha256 for file in header.results}
        results = results or {"": header.results[0].sha256}
        differing = [
            path
            for path, kinds in recorded.items()
            if path in results and kinds.get("sha256", results[path]) != results[path]
        ]
        here = container.size, header.base_digest, header.source.sha256
        if differing or here != (version.size, version.base, version.source.sha256):
            raise RegistryError(
                f"object {version.container}, the container of {version.ref}, is not the one that the "
                "event log tells of",
                "Run `dsvd verify`, which says how to restore it.",
            )

    @contextlib.contextmanager
    def open_version(self, version: VersionRecord) -> Iterator[tuple[Container, BaseWeights]]:
        """The open container of a version and its base, closed on leaving.

        Raises as `base_of`, `open_container` and `open_base`.
        """
        base = self.base_of(version)
        with self.open_container(version) as container, self.open_base(base) as weights:
            yield container, weights

    def base_of(self, version: VersionRecord) -> BaseRecord:
        """The base of a version.

        Raises `BaseMismatch`, which names the digest of the base and the bases in the registry.
        """
        try:
            return self.catalog.base(version.base)
        except NotFound:
            raise BaseMismatch(
                f"{version.ref} needs the base {version.base}; the registry has {self.base_names()}",
                "Add that base with `dsvd base add NAME FILE`.",
            ) from None

    def base_names(self) -> str:
        """The names and digests of all bases, as text for a message; "none" if there is no base."""
        named = (f"{base.name} ({base.digest})" for base in self.catalog.bases())
        return ", ".join(named) or "none"

    def manifest(self, base: BaseRecord) -> Manifest:
        """The manifest of a base. Raises `RegistryError` if it belongs to another base."""
        from ..reconstruction.base_weights import Manifest

        data = self.objects.read(base.manifest)
        manifest = Manifest.from_bytes(data, f"object {base.manifest}")
        if manifest.digest != base.digest:
            raise RegistryError(f"the manifest of the base {base.name!r} is of another base")
        return manifest

    def open_base(self, base: BaseRecord) -> BaseWeights:
        """Open the weights of a base; the caller closes them.

        Each tensor is checked whenever it is read. Raises `BaseMismatch` if the base is
        gone or damaged.
        """
        from ..reconstruction.base_weights import BaseWeights

        manifest = self.manifest(base)
        try:
            checkpoint = self.open_base_checkpoint(base, manifest)
        except StorageError:
            raise
        except DsvdError as error:
            raise BaseMismatch(
                f"the base {base.name!r} cannot be read: {error}",
                "Put its file back, or add the base again with `dsvd base add`.",
            ) from error
        return BaseWeights(checkpoint, manifest, base.name)

    def open_base_checkpoint(
        self, base: BaseRecord, manifest: Manifest | None = None
    ) -> Checkpoint:
        """Open the file or folder of a base without comparing its bytes with digests.

        A folder that can be read in several ways (see `_readings`) is read in the first way that
        gives all tensors of the `manifest`. Raises `BaseMismatch` if a linked base is gone,
        `CheckpointError`.
        """
        from ..checkpoint import open_checkpoint
        from ..checkpoint.folder import FolderCheckpoint, is_checkpoint_folder

        place = self._place(base)
        if not base.is_folder or (base.link is not None and not is_checkpoint_folder(place)):
            return open_checkpoint(place)
        *readings, last = self._readings(base, place)
        for files in readings:
            checkpoint = FolderCheckpoint(place, files)
            if manifest is None or all(t.name in checkpoint.tensors for t in manifest.tensors):
                return checkpoint
            checkpoint.close()
        return FolderCheckpoint(place, last)

    def _readings(self, base: BaseRecord, place: Path) -> Iterator[FolderFiles]:
        """The ways in which the files of a folder may have been selected when it was added."""
        from ..checkpoint.folder import linked_files, stored_files

        if base.link is not None:
            yield from linked_files(place)
            return
        listed = {file.path: file for file in self.listing(base)}
        files = self.objects.local_files(file.sha256 for file in listed.values())
        places = dict(zip(listed, files, strict=True))
        yield from stored_files(places, listed)

    def _place(self, base: BaseRecord) -> Path:
        return self.objects.local_file(base.file) if base.link is None else _linked(base, base.link)

    def listing(self, base: BaseRecord) -> tuple[ListedFile, ...]:
        """The listing of a base that is a folder in the store."""
        from ..checkpoint.folder_listing import parse_listing

        try:
            return parse_listing(self.objects.read(base.file))
        except CheckpointError as error:
            raise RegistryError(f"the listing of the base {base.name!r}: {error}") from error


def _linked(base: BaseRecord, link: Path) -> Path:
    if not os.path.exists(link):  # noqa: PTH110 - gives False where Path.exists raises
        raise BaseMismatch(
            f"the base {base.name!r} ({base.digest}) is linked to {link}, which is gone",
            "Put the file back, or add the base again with `dsvd base add`.",
        )
    return link


def opened(home: Home, url: str | None) -> Repository:
    """The repository of a registry, whose catalog is at `url`; None for one in its folder here."""
    make_folder(home.root)
    return Repository(home, Catalog.open(home, url), ObjectStore(home))


def found_home(path: str | Path | None) -> Home:
    """The home of the registry at `path`, or found from the environment and the current folder."""
    url = bucket_of(path)
    if url is not None:
        from ..store import bucket_registry

        return bucket_registry.open(url, os.environ)
    explicit = None if path is None else Path(path)
    return store.registry_folder.open(store.registry_folder.find(explicit, os.environ, Path.cwd()))


def bucket_of(path: str | Path | None) -> BucketUrl | None:
    """The bucket that `path`, or without it DSVD_REGISTRY, names by a URL; None for a folder.

    Raises `InvalidArgument` for a URL that is none of a registry.
    """
    named = os.environ.get(store.registry_folder.ENVIRONMENT_VARIABLE) if path is None else path
    if not isinstance(named, str) or not bucket_url.is_url(named):
        return None
    return bucket_url.parse(named)


def catalog_url(given: str | None) -> str | None:
    """The URL of the catalog, None for the registry's folder."""
    return given or os.environ.get(CATALOG_VARIABLE) or None
