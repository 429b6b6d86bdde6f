"""An open registry: what all methods work on."""

from __future__ import annotations

from ...closing import Closing, MadeOnce
from ..opening import result_pool
from ..repository import Repository


class OpenRegistry(Closing):
    """An open repository, and the results of it that are open."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        """Its folder, catalog and objects, for packages that are built on a registry."""
        self._pool = MadeOnce(lambda: result_pool(repository))

    def close(self) -> None:
        """Close the catalog and the open results. Closing twice is fine."""
        self._pool.close()
        self.repository.catalog.close()
