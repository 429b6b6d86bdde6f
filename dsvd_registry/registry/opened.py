"""A registry that is open: its folder, catalog and objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from .. import store
from ..catalog import Catalog, Rebuilt, VersionRecord, check_database, rebuild
from ..closing import Closing
from ..store import ObjectStore, RegistryFolder
from .places import Kept, check_output

CATALOG_VARIABLE = "DSVD_CATALOG"


class OpenRegistry(Closing):
    """An open registry. Use it as a context manager, or call `close`."""

    def __init__(self, folder: RegistryFolder, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._objects = ObjectStore(folder)

    @classmethod
    def init(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Make a registry at `path` (default: DSVD_REGISTRY, or the user's data folder), and open it.

        `catalog` is as in `open`. Raises `Conflict` if the folder holds something already.
        """
        explicit = None if path is None else Path(path)
        place = store.folder.place_to_create(explicit, os.environ, Path.cwd())
        url = catalog_url(catalog)
        check_database(RegistryFolder(place).catalog, url)
        folder = store.folder.create(place)
        return cls(folder, Catalog.open(folder, url))

    @classmethod
    def open(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """The registry at `path`, or the one found from the environment and the current folder.

        `catalog`: the URL of the database that holds its catalog, as SQLAlchemy writes it (default:
        DSVD_CATALOG, or SQLite in the registry's folder). All who write to a registry must give
        the same. A folder that may only be read can be opened; then what writes raises
        `StorageError`. Raises `NotFound` if there is no registry, `InvalidArgument` for the URL.
        """
        folder = found_folder(path)
        return cls(folder, Catalog.open(folder, catalog_url(catalog)))

    @staticmethod
    def rebuild_catalog(path: str | Path | None = None, *, catalog: str | None = None) -> Rebuilt:
        """Make the catalog anew from the store's events, also where the old one cannot be opened.

        `path` and `catalog` are as in `open`.
        """
        return rebuild(found_folder(path), catalog_url(catalog))

    @property
    def folder(self) -> Path:
        """Where the registry lies."""
        return self._folder.root

    def close(self) -> None:
        self._catalog.close()

    def version(self, ref: str) -> VersionRecord:
        """The version that `ref` means: `name`, `name@3`, `name@alias`, `name@latest`."""
        return self._catalog.version(ref)

    def check_output(self, output: str | Path) -> None:
        """Say before the work whether something may be written to `output`.

        Raises `InvalidArgument` for standard output, and `Conflict` for what would be in the place of
        the registry's own files, or of a linked base's, or among them.
        """
        check_output(Path(output), self._kept())

    def _kept(self) -> Iterator[Kept]:
        yield Kept(self._folder.root, f"the folder of the registry {self._folder.root}")
        path = self._catalog.path
        if path is not None:
            for ending in ("", "-wal", "-shm"):
                yield Kept(path.with_name(path.name + ending), "the catalog of the registry")
        for base in self._catalog.bases():
            if base.link is not None:
                what = "folder" if base.is_folder else "file"
                yield Kept(base.link, f"the {what} of the base {base.name!r}")


def found_folder(path: str | Path | None) -> RegistryFolder:
    """The registry at `path`, or the one found. Raises as `OpenRegistry.open`."""
    explicit = None if path is None else Path(path)
    return store.folder.open(store.folder.find(explicit, os.environ, Path.cwd()))


def catalog_url(given: str | None) -> str | None:
    """Where the catalog is, None for the registry's folder."""
    return given or os.environ.get(CATALOG_VARIABLE) or None
