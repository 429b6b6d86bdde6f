"""Opening of a registry: which folder and which catalog a caller means."""

from __future__ import annotations

import os
from pathlib import Path

from ..catalog import Catalog, check_database
from ..errors import InvalidArgument
from ..store import ObjectStore, RegistryFolder, registry_folder
from .repository import Repository

CATALOG_VARIABLE = "DSVD_CATALOG"


def found_folder(path: str | Path | None) -> RegistryFolder:
    """The folder of an existing registry. Raises `NotFound`, `RegistryError`, `StorageError`."""
    explicit = None if path is None else Path(path)
    return registry_folder.open(registry_folder.find(explicit, os.environ, Path.cwd()))


def made_repository(path: str | Path | None, catalog: str | None) -> Repository:
    """A new registry, opened; see `Registry.init`."""
    explicit = None if path is None else Path(path)
    place = registry_folder.place_to_create(explicit, os.environ, Path.cwd())
    check_database(RegistryFolder(place).catalog, catalog_url(catalog))
    return _opened(registry_folder.create(place), catalog)


def opened_repository(path: str | Path | None, catalog: str | None) -> Repository:
    """An existing registry, opened; see `Registry.open`."""
    return _opened(found_folder(path), catalog)


def catalog_url(given: str | None) -> str | None:
    """The URL of the catalog, None for the registry's folder."""
    return given or os.environ.get(CATALOG_VARIABLE) or None


def _opened(folder: RegistryFolder, catalog: str | None) -> Repository:
    return Repository(folder, Catalog.open(folder, catalog_url(catalog)), ObjectStore(folder))


def no_passphrase() -> str:
    """Raise `InvalidArgument`: the answer where a key is encrypted and no passphrase is known."""
    raise InvalidArgument(
        "the key is encrypted, and no passphrase was given", "Pass a function as `passphrase`."
    )
