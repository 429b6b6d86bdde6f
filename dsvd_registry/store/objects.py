"""Immutable files named by the SHA-256 of their bytes: containers, base files, base manifests.

An object is written to `tmp/`, synced, renamed into `objects/ab/`, and read-only from then on.
Nothing here follows a symbolic link: a link planted as an object or a shard is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import operator
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .. import fs, hashing
from ..errors import InvalidArgument, RegistryError, StorageError
from ..fs import Bytes
from .registry_folder import RegistryFolder

COPY_CHUNK = 4 << 20

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_RESTORE = "Restore it from a copy, or add its source again; `dsvd verify` names what it breaks."


@dataclass(frozen=True)
class StoredObject:
    """An object that is durably in the store."""

    sha256: str
    size: int


class ListedObject(NamedTuple):
    """An object as the store's folders list it; `mtime` (seconds) starts the grace period of gc."""

    sha256: str
    size: int
    mtime: float


class ObjectWriter:
    """An object being written, hashed on the way. It exists only from `commit` on."""

    def __init__(self, store: ObjectStore, file: fs.NewFile) -> None:
        self._store = store
        self._file = file
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: Bytes) -> None:
        """Append `data`. Raises `StorageError`."""
        self._file.write(data)
        self._digest.update(data)
        self._size += memoryview(data).nbytes

    def readable(self) -> Path:
        """Where what was written can be read back before it is an object. Raises `StorageError`."""
        self._file.flush()
        return self._file.path

    def commit(self) -> StoredObject:
        """Make the object durable under its hash; if it is there already, keep that one.

        Raises `StorageError`, and `RegistryError` if a symbolic link stands in its place.
        """
        stored = StoredObject(self._digest.hexdigest(), self._size)
        if not self._store._renewed(stored):
            target = self._store.place(stored.sha256)
            fs.make_folder(target.parent)
            # Replacing is safe, the bytes are the same, and it repairs an object cut short.
            self._file.publish(target, replace=True, read_only=True)
            self._store._sync_shard_names()
        return stored


class ObjectStore:
    """The objects of one registry."""

    def __init__(self, folder: RegistryFolder) -> None:
        self._folder = folder

    @property
    def folder(self) -> RegistryFolder:
        """The registry's."""
        return self._folder

    @contextlib.contextmanager
    def new_object(self) -> Iterator[ObjectWriter]:
        """A writer; without `commit` nothing is left on leaving. Raises `StorageError`."""
        fs.make_folder(self._folder.tmp)
        with fs.new_file(self._folder.tmp) as file:
            yield ObjectWriter(self, file)

    def put(self, data: Bytes) -> StoredObject:
        """Store `data` whole. Raises `StorageError`."""
        with self.new_object() as writer:
            writer.write(data)
            return writer.commit()

    def put_file(self, path: Path, progress: Callable[[int], None] | None = None) -> StoredObject:
        """Store a copy of a file, streamed. Raises `StorageError`, also if it becomes shorter.

        `progress` is called with the number of bytes copied since the last call.
        """
        with self.new_object() as writer, fs.storage_errors(path), path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while chunk := file.read(COPY_CHUNK):
                writer.write(chunk)
                left -= len(chunk)
                if progress is not None:
                    progress(len(chunk))
            if left > 0:
                raise StorageError(
                    f"{path} has become shorter while it is read",
                    "Run it again when the file is complete.",
                )
            return writer.commit()

    def path(self, sha256: str) -> Path:
        """Where an object lies. Raises `RegistryError` if it is missing or not a plain file."""
        place = self.place(sha256)
        if self._status(place) is None:
            raise RegistryError(f"object {sha256} is missing from {self._folder.root}", _RESTORE)
        return place

    def contains(self, sha256: str) -> bool:
        """Whether the object is there; its bytes are not read. Raises as `path` but for missing."""
        return self._status(self.place(sha256)) is not None

    def is_whole(self, sha256: str) -> bool:
        """Whether the object is there with all its bytes right; it is read whole."""
        return self.contains(sha256) and hashing.sha256_file(self.place(sha256)) == sha256

    def check(self, sha256: str) -> None:
        """Read an object whole. Raises `RegistryError` if it is damaged or missing."""
        actual = hashing.sha256_file(self.path(sha256))
        if actual != sha256:
            raise RegistryError(
                f"object {sha256} is damaged: its bytes have the SHA-256 {actual}", _RESTORE
            )

    def all(self) -> Iterator[ListedObject]:
        """Every object, by hash, less those that go away meanwhile. Raises `StorageError`."""
        if not self._folder.objects.exists():  # a backup may leave out empty folders
            return
        with fs.storage_errors(self._folder.objects):
            for shard in _entries(self._folder.objects):
                if not _SHARD.fullmatch(shard.name) or not shard.is_dir(follow_symlinks=False):
                    continue
                for place in _entries(shard):
                    if not _DIGEST.fullmatch(place.name) or place.name[:2] != shard.name:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        status = place.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            yield ListedObject(place.name, status.st_size, status.st_mtime)

    def remove(self, sha256: str) -> None:
        """Remove an object; a missing one is fine.

        Raises `StorageError`, and `RegistryError` for a symbolic link.
        """
        if self.contains(sha256):
            fs.remove_file(self.place(sha256))

    @contextlib.contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """A read-write file in the store's filesystem, gone on leaving. Raises `StorageError`."""
        fs.make_folder(self._folder.tmp)
        with fs.scratch_file(self._folder.tmp) as file:
            yield file

    @contextlib.contextmanager
    def draft(self) -> Iterator[fs.NewFile]:
        """A file beside the objects that is read back and never named. Raises `StorageError`."""
        fs.make_folder(self._folder.tmp)
        with fs.new_file(self._folder.tmp) as file:
            yield file

    def leftovers(self) -> list[Path]:
        """Temporary files of writers, at work or crashed: only their age tells them apart."""
        return fs.temporary_files(self._folder.tmp)

    def place(self, sha256: str) -> Path:
        """Where an object lies, or would. Raises `InvalidArgument`, `RegistryError` for a link there."""
        if not _DIGEST.fullmatch(sha256):
            raise InvalidArgument(
                f"{sha256!r} is not a SHA-256 of 64 lower-case hexadecimal digits"
            )
        shard = self._folder.objects / sha256[:2]
        with fs.storage_errors(shard):
            if shard.is_symlink():
                raise RegistryError(
                    f"{shard} is a symbolic link", "Remove it: objects are no links."
                )
        return shard / sha256

    def _status(self, place: Path) -> int | None:
        """The size of the plain file at `place`, None if nothing is there."""
        with fs.storage_errors(place):
            try:
                status = place.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not stat.S_ISREG(status.st_mode):
            raise RegistryError(
                f"{place} is not a plain file", "Remove it, then restore the object."
            )
        return status.st_size

    def _renewed(self, stored: StoredObject) -> bool:
        """Whether the object is there already, whole; then its grace period before gc starts again."""
        place = self.place(stored.sha256)
        try:
            if self._status(place) != stored.size or hashing.sha256_file(place) != stored.sha256:
                return False
        except StorageError:  # it cannot be read, and here are its bytes
            return False
        # Its writer may be about to make the name durable, or may have died before it did.
        with fs.storage_errors(place.parent):
            fs.sync_folder(place.parent)
        self._sync_shard_names()
        return fs.renew_time(place)

    def _sync_shard_names(self) -> None:
        """Make the names of the shards durable: another writer may have made one a moment ago."""
        with fs.storage_errors(self._folder.objects):
            fs.sync_folder(self._folder.objects)


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """What is in a folder, by name. A store may hold so many objects that paths would be slow."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=operator.attrgetter("name"))
