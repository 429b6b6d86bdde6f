"""The home of a registry: where its bytes are, and what this machine keeps beside them.

A registry in a local folder is its own home (`registry_folder`). One that is elsewhere, such as in a
bucket, has a folder on each machine that uses it (`remote_registry`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ..fs import Bytes
from ..ranged_file import RangedFile
from .backend import Backend


class Found(NamedTuple):
    """Something in the place of a key. `state`: differs for other bytes. `is_plain`: see `Entry`."""

    state: str
    is_plain: bool


class Files(Protocol):
    """The keys of a registry, as files that this machine reads.

    All raise `RegistryError` if something else stands in the place of a key, and `StorageError`.
    """

    def open(self, key: str) -> RangedFile:
        """Open a key, of which parts are read. Raises `NotFound`."""
        ...

    def chunks(self, key: str) -> Generator[Bytes, None, None]:
        """All bytes of a key, in order; a chunk is valid until the next one. Raises `NotFound`.

        Close the generator if you stop early.
        """
        ...

    def values(self, keys: Iterable[str], most: int) -> Generator[bytes, None, None]:
        """The bytes of keys, `most` at most of each, in the order of the keys.

        Close the generator if you stop early. Raises `NotFound`.
        """
        ...

    def local_files(self, wanted: Sequence[tuple[str, str]]) -> list[Path]:
        """Files on a disk here that have the bytes of keys, which have these SHA-256.

        Those that are not at home here are compared with the SHA-256 as they come. Raises `NotFound`,
        `RegistryError` for other bytes.
        """
        ...

    def time_here(self, now: float, /) -> float:
        """The time by the clock that gives temporary files theirs, when it is `now` by the backend's."""
        ...

    def found(self, key: str) -> Found | None:
        """Whatever is in the place of a key; None for nothing."""
        ...

    def set_aside(self, key: str, found: Found, target: str) -> bool:
        """Move what was found at a key to the key `target`.

        Gives False if it is another by now. Raises `Conflict` if `target` exists.
        """
        ...


class Home(Protocol):
    """The place of a registry.

    `name`: its path or URL. `root`: the folder on this machine, with the catalog.
    """

    @property
    def name(self) -> str: ...

    @property
    def root(self) -> Path: ...

    @property
    def backend(self) -> Backend: ...

    @property
    def files(self) -> Files: ...

    @property
    def catalog(self) -> Path: ...

    @property
    def verified(self) -> Path: ...

    @property
    def remotes(self) -> Path: ...

    @property
    def tmp(self) -> Path: ...

    @property
    def has_many_clients(self) -> bool: ...


@dataclass(frozen=True)
class LocalPlace:
    """The paths in the folder that a registry has on this machine.

    `has_many_clients`: True if each client has a catalog of its own, and with it a lock of its own.
    """

    root: Path

    has_many_clients = False

    @property
    def catalog(self) -> Path:
        """The SQLite database, which can be rebuilt from the event log."""
        return self.root / "catalog.sqlite"

    @property
    def verified(self) -> Path:
        """The findings of the last verification, kept for people; it may be missing."""
        return self.root / "verified.json"

    @property
    def remotes(self) -> Path:
        """The names of other registries to exchange versions with; it may be missing."""
        return self.root / "remotes.json"

    @property
    def tmp(self) -> Path:
        """Files being written, on the same filesystem as their final paths."""
        return self.root / "tmp"
