"""An open registry: what all methods work on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...closing import Closing, MadeOnce
from ..opening import result_pool
from ..repository import Repository

if TYPE_CHECKING:
    from ...catalog import VersionRecord


class OpenRegistry(Closing):
    """An open repository, and the results of it that are open."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        """Its folder, catalog and objects, for packages that are built on a registry."""
        self._pool = MadeOnce(lambda: result_pool(repository))

    @property
    def folder(self) -> Path:
        """The folder of the registry; of one in a bucket, what this machine has of it."""
        return self.repository.home.root

    @property
    def name(self) -> str:
        """The path of the registry's folder, or its URL, which opens it again.

        Example:
            >>> registry.name == str(registry.folder)
            True
        """
        return self.repository.home.name

    def version(self, ref: str) -> VersionRecord:
        """Find the version that a ref means.

        Example:
            >>> registry.version("subject-42@prod").number
            1
        """
        return self.repository.catalog.version(ref)

    def close(self) -> None:
        """Close the catalog and the open results. Closing twice is fine."""
        self._pool.close()
        self.repository.catalog.close()
