"""The home of a registry that is elsewhere, such as in a bucket."""

from __future__ import annotations

from dataclasses import dataclass

from ..cache import Cache
from .backend import Backend
from .home import LocalPlace
from .remote_files import RemoteFiles


@dataclass(frozen=True)
class RemoteRegistry(LocalPlace):
    """A registry behind a backend, and the folder that this client has for it.

    `name`: its URL, without credentials. `root` has the catalog, which shows the events that this client
    has read, and what is being written; losing it loses nothing. `cache`: takes copies of whole
    objects, such as bases, and may be that of other registries too.
    """

    name: str
    backend: Backend
    cache: Cache

    has_many_clients = True

    @property
    def files(self) -> RemoteFiles:
        """The keys of the backend, as they are read."""
        return RemoteFiles(self.backend, self.name, self.tmp, self.cache)
