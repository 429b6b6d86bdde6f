"""A registry that is open: its folder, catalog and objects."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Self

from .. import store
from ..catalog import Catalog, Rebuilt, VersionRecord, rebuild
from ..closing import Closing
from ..errors import Conflict
from ..store import ObjectStore, RegistryFolder


class OpenRegistry(Closing):
    """An open registry. Use it as a context manager, or call `close`."""

    def __init__(self, folder: RegistryFolder, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._objects = ObjectStore(folder)

    @classmethod
    def init(cls, path: str | Path | None = None) -> Self:
        """Make a registry at `path` (default: DSVD_REGISTRY, or the user's data folder), and open it.

        Raises `Conflict` if the folder holds something already.
        """
        explicit = None if path is None else Path(path)
        folder = store.folder.create(store.folder.place_to_create(explicit, os.environ, Path.cwd()))
        return cls(folder, Catalog.open(folder))

    @classmethod
    def open(cls, path: str | Path | None = None) -> Self:
        """The registry at `path`, or the one found from the environment and the current folder.

        Raises `NotFound` if there is none.
        """
        explicit = None if path is None else Path(path)
        folder = store.folder.open(store.folder.find(explicit, os.environ, Path.cwd()))
        return cls(folder, Catalog.open(folder))

    @staticmethod
    def rebuild_catalog(path: str | Path | None = None) -> Rebuilt:
        """Make the catalog anew from the store's events, also where the old one cannot be opened."""
        explicit = None if path is None else Path(path)
        return rebuild(store.folder.open(store.folder.find(explicit, os.environ, Path.cwd())))

    @property
    def folder(self) -> Path:
        """Where the registry lies."""
        return self._folder.root

    def close(self) -> None:
        self._catalog.close()

    def version(self, ref: str) -> VersionRecord:
        """The version that `ref` means: `name`, `name@3`, `name@alias`, `name@latest`."""
        return self._catalog.version(ref)

    def _check_not_a_base(self, output: Path) -> None:
        for base in self._catalog.bases():
            with contextlib.suppress(OSError):
                if base.link is not None and output.samefile(base.link):
                    raise Conflict(
                        f"{output} is the file of the base {base.name!r}", "Give another path."
                    )
