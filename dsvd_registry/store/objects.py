"""The objects: immutable files named by the SHA-256 of their bytes, such as containers and manifests.

An object is written to `tmp/`, synced, renamed into `objects/ab/`, and read-only from then on. No
symbolic link is followed: a link in the place of an object or a shard is refused.
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
    """An object in the folders of the store; the grace time of gc begins at `mtime` (seconds)."""

    sha256: str
    size: int
    mtime: float


class ObjectWriter:
    """An object being written, and hashed on the way. It exists only after `commit`."""

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
        """The path where the written bytes can be read before `commit`. Raises `StorageError`."""
        self._file.flush()
        return self._file.path

    def commit(self) -> StoredObject:
        """Make the object durable under its SHA-256; an equal object that exists is kept.

        Raises `StorageError`, and `RegistryError` if a symbolic link stands in its place.
        """
        stored = StoredObject(self._digest.hexdigest(), self._size)
        if not self._store._renewed(stored):
            target = self._store.place(stored.sha256)
            fs.make_folder(target.parent)
            # The bytes are those of the name: replacing is safe, and repairs a truncated object.
            self._file.publish(target, replace=True, read_only=True)
            self._store._sync_shard_names()
        return stored


class ObjectStore:
    """The objects of one registry."""

    def __init__(self, folder: RegistryFolder) -> None:
        self._folder = folder
        self._objects, self._tmp = folder.objects, folder.tmp

    @property
    def folder(self) -> RegistryFolder:
        """The folder of the registry."""
        return self._folder

    @contextlib.contextmanager
    def new_object(self) -> Iterator[ObjectWriter]:
        """A writer of an object; without `commit` nothing is stored. Raises `StorageError`."""
        fs.make_folder(self._tmp)
        with fs.new_file(self._tmp) as file:
            yield ObjectWriter(self, file)

    def put(self, data: Bytes) -> StoredObject:
        """Store `data` as an object. Raises `StorageError`."""
        with self.new_object() as writer:
            writer.write(data)
            return writer.commit()

    def put_file(self, path: Path, progress: Callable[[int], None] | None = None) -> StoredObject:
        """Store a copy of a file. Raises `StorageError`, also if the file becomes shorter meanwhile.

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
        """The path of an object. Raises `RegistryError` if it is missing or not a plain file."""
        place = self.place(sha256)
        if self._status(place) is None:
            raise RegistryError(f"object {sha256} is missing from {self._folder.root}", _RESTORE)
        return place

    def contains(self, sha256: str) -> bool:
        """True if the object exists; its bytes are not read.

        Raises `RegistryError` if something else is at its path.
        """
        return self._status(self.place(sha256)) is not None

    def is_whole(self, sha256: str) -> bool:
        """True if the object exists and its bytes have its SHA-256; it is read whole."""
        return self.contains(sha256) and hashing.sha256_file(self.place(sha256)) == sha256

    def check(self, sha256: str) -> None:
        """Read an object whole. Raises `RegistryError` if it is damaged or missing."""
        actual = hashing.sha256_file(self.path(sha256))
        if actual != sha256:
            raise RegistryError(
                f"object {sha256} is damaged: its bytes have the SHA-256 {actual}", _RESTORE
            )

    def all(self) -> Iterator[ListedObject]:
        """Every object by digest, without those that disappear meanwhile. Raises `StorageError`."""
        if not self._objects.exists():  # a backup may omit empty folders
            return
        with fs.storage_errors(self._objects):
            for shard in _entries(self._objects):
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
        """A read-write file on the store's filesystem, removed on leaving. Raises `StorageError`."""
        fs.make_folder(self._tmp)
        with fs.scratch_file(self._tmp) as file:
            yield file

    @contextlib.contextmanager
    def draft(self) -> Iterator[fs.NewFile]:
        """A file on the store's filesystem that is read back, and removed on leaving.

        Raises `StorageError`.
        """
        fs.make_folder(self._tmp)
        with fs.new_file(self._tmp) as file:
            yield file

    def leftovers(self) -> list[Path]:
        """The temporary files of writers, at work or crashed; only their age distinguishes them."""
        return fs.temporary_files(self._tmp)

    def place(self, sha256: str) -> Path:
        """The path of an object, existing or not.

        Raises `InvalidArgument` for a bad digest, `RegistryError` if the shard is a link.
        """
        if not _DIGEST.fullmatch(sha256):
            raise InvalidArgument(
                f"{sha256!r} is not a SHA-256 of 64 lower-case hexadecimal digits"
            )
        shard = self._objects / sha256[:2]
        try:
            is_link = shard.is_symlink()
        except OSError as error:
            raise fs.storage_error(error, shard) from error
        if is_link:
            raise RegistryError(f"{shard} is a symbolic link", "Remove it: objects are not links.")
        return shard / sha256

    def _status(self, place: Path) -> int | None:
        """The size of the plain file at `place` in bytes; None if it does not exist."""
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise fs.storage_error(error, place) from error
        if not stat.S_ISREG(status.st_mode):
            raise RegistryError(
                f"{place} is not a plain file", "Remove it, then restore the object."
            )
        return status.st_size

    def _renewed(self, stored: StoredObject) -> bool:
        """True if the object exists and is whole; its grace time then starts again."""
        place = self.place(stored.sha256)
        try:
            if self._status(place) != stored.size or hashing.sha256_file(place) != stored.sha256:
                return False
        except StorageError:  # an unreadable object is written again
            return False
        # Another writer may still be about to make the name durable, or may have crashed before.
        with fs.storage_errors(place.parent):
            fs.sync_folder(place.parent)
        self._sync_shard_names()
        return fs.renew_time(place)

    def _sync_shard_names(self) -> None:
        """Make the names of the shards durable: another writer may have made one a moment ago."""
        with fs.storage_errors(self._objects):
            fs.sync_folder(self._objects)


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder, by name; `Path` would be slow for the many objects of a store."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=operator.attrgetter("name"))
