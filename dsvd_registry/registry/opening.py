"""The opening of a registry, new or not, as its constructors do it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import check_database
from ..errors import InvalidArgument
from ..store import RegistryFolder, registry_folder
from .repository import Repository, bucket_of, catalog_url, found_home, opened

if TYPE_CHECKING:  # numpy, which listing versions need not wait for
    from .results.result_pool import ResultPool


def made_repository(path: str | Path | None, catalog: str | None) -> Repository:
    """A new registry, opened; see `Registry.init`."""
    url = catalog_url(catalog)
    bucket = bucket_of(path)
    if bucket is not None:
        from ..store import bucket_registry

        return opened(bucket_registry.create(bucket, os.environ), url)
    explicit = None if path is None else Path(path)
    place = registry_folder.place_to_create(explicit, os.environ, Path.cwd())
    check_database(RegistryFolder(place).catalog, url)
    return opened(registry_folder.create(place), url)


def opened_repository(path: str | Path | None, catalog: str | None) -> Repository:
    """An existing registry, opened; see `Registry.open`."""
    return opened(found_home(path), catalog_url(catalog))


def no_passphrase() -> str:
    """Raise `InvalidArgument`: the answer where a key is encrypted and no passphrase is known."""
    raise InvalidArgument(
        "the key is encrypted, and no passphrase was given", "Pass a function as `passphrase`."
    )


def result_pool(repository: Repository) -> ResultPool:
    """The open results of a registry, with the cache that all registries of the process share."""
    from .results.result_pool import ResultPool, run_cache

    return ResultPool(repository, run_cache())
