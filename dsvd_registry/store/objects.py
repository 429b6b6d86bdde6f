"""The objects: immutable files named by the SHA-256 of their bytes, such as containers and manifests.

An object is written to `tmp/`, synced, renamed into `objects/ab/`, and read-only from then on. No
symbolic link is followed: a link in the place of an object or a shard is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .. import fs, hashing, ranged_file
from ..errors import InvalidArgument, NotFound, RegistryError, StorageError
from ..fs import Bytes
from ..ranged_file import RangedFile
from .backend import Content, Entry
from .home import Home

COPY_CHUNK = 4 << 20

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"objects/([0-9a-f]{2})/([0-9a-f]{64})")
_RESTORE = "Restore it from a copy, or add its source again; `dsvd verify` names what it breaks."


@dataclass(frozen=True)
class StoredObject:
    """An object that is durably in the store."""

    sha256: str
    size: int


class ListedObject(NamedTuple):
    """An object in the store; the grace time of gc begins at `mtime` (seconds, as `now`).

    `state`: differs after each renewal.
    """

    sha256: str
    size: int
    mtime: float
    state: str


class ObjectWriter:
    """An object being written, and hashed on the way. It exists only after `commit`."""

    def __init__(self, store: ObjectStore, content: Content) -> None:
        self._store = store
        self._content = content
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: Bytes) -> None:
        """Append `data`. Raises `StorageError`."""
        self._content.write(data)
        self._digest.update(data)
        self._size += memoryview(data).nbytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes written so far."""
        return self._digest.hexdigest()

    def readable(self) -> Path:
        """The path where the written bytes can be read before `commit`. Raises `StorageError`."""
        return self._content.readable()

    def commit(self) -> StoredObject:
        """Make the object durable under its SHA-256; an equal object that exists is kept.

        Raises `StorageError`, and `RegistryError` if a symbolic link stands in its place.
        """
        stored = StoredObject(self.sha256, self._size)
        if not self._store._renewed(stored):
            self._content.publish(object_key(stored.sha256))
        return stored


class ObjectStore:
    """The objects of one registry."""

    def __init__(self, home: Home) -> None:
        self._name, self._tmp = home.name, home.tmp
        self._backend, self._files = home.backend, home.files

    @contextlib.contextmanager
    def new_object(self) -> Iterator[ObjectWriter]:
        """A writer of an object; without `commit` nothing is stored. Raises `StorageError`."""
        with self._backend.new_content() as content:
            yield ObjectWriter(self, content)

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

    def open(self, sha256: str) -> RangedFile:
        """Open an object, of which parts are read; nothing is compared with its SHA-256.

        Raises `RegistryError` if it is missing or not a plain file.
        """
        with self._missing(sha256):
            return self._files.open(object_key(sha256))

    def open_checked(self, sha256: str) -> RangedFile:
        """Open an object after a comparison of all its bytes with its SHA-256. Raises as `check`."""
        file = self.open(sha256)
        try:
            _check_digest(sha256, hashing.sha256_of(ranged_file.chunks(file)))
        except BaseException:
            file.close()
            raise
        return file

    def chunks(self, sha256: str) -> Generator[Bytes, None, None]:
        """All bytes of an object; a chunk is valid until the next one. Nothing is compared.

        Close the generator if you stop early. Raises as `open`.
        """
        with self._missing(sha256):
            yield from self._files.chunks(object_key(sha256))

    def local_file(self, sha256: str) -> Path:
        """A file on a disk here that has the bytes of an object; see `local_files`."""
        (path,) = self.local_files([sha256])
        return path

    def local_files(self, digests: Iterable[str]) -> list[Path]:
        """Files on a disk here that have the bytes of some objects, and stay while they are opened.

        In a local registry they are those of the objects; else these are fetched whole, into a cache of
        bounded size, and compared with their SHA-256 as they come. Raises as `open`, and as `check` for
        one that is fetched.
        """
        wanted = [(object_key(sha256), sha256) for sha256 in digests]
        try:
            return self._files.local_files(wanted)
        except NotFound:
            self.require(*(sha256 for _, sha256 in wanted))  # names the one that is missing
            raise

    @contextlib.contextmanager
    def _missing(self, sha256: str) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            raise self._missing_error(sha256) from error

    def _missing_error(self, sha256: str) -> RegistryError:
        return RegistryError(f"object {sha256} is missing from {self._name}", _RESTORE)

    def require(self, *sha256: str) -> None:
        """Raise `RegistryError` if one of these objects is missing or not a plain file.

        Their bytes are not read.
        """
        for one in sha256:
            if not self.contains(one):
                raise self._missing_error(one)

    def read(self, sha256: str) -> bytes:
        """The bytes of a small object, compared with its SHA-256. Raises as `check`."""
        self.require(sha256)
        data = self._backend.read(object_key(sha256))
        _check_digest(sha256, hashing.sha256(data))
        return data

    def size(self, sha256: str) -> int:
        """The size of an object in bytes, none of which are read. Raises as `require`."""
        self.require(sha256)
        found = self._backend.head(object_key(sha256))
        return 0 if found is None else found.size

    def renew(self, sha256: str) -> bool:
        """Start the grace time of an object again; gives False if it is gone. Raises `StorageError`."""
        return self._backend.renew(object_key(sha256))

    def contains(self, sha256: str) -> bool:
        """True if the object exists; its bytes are not read.

        Raises `RegistryError` if something else is at its path.
        """
        return self._backend.head(object_key(sha256)) is not None

    def is_whole(self, sha256: str) -> bool:
        """True if the object exists and its bytes have its SHA-256; it is read whole."""
        return self.contains(sha256) and self._actual(sha256) == sha256

    def check(self, sha256: str) -> None:
        """Read an object whole. Raises `RegistryError` if it is damaged or missing."""
        _check_digest(sha256, self._actual(sha256))

    def all(self) -> Iterator[ListedObject]:
        """Every object by digest, without those that disappear meanwhile. Raises `StorageError`."""
        for entry in self._backend.list("objects/"):
            match = _KEY.fullmatch(entry.key)
            if match is not None and match[2].startswith(match[1]) and entry.is_plain:
                yield ListedObject(match[2], entry.size, entry.mtime, entry.state)

    def now(self) -> float:
        """The time by the clock that gives objects theirs, which may not be this machine's.

        Raises `StorageError`.
        """
        return self._backend.now()

    def remove(self, sha256: str, unchanged: ListedObject | None = None) -> bool:
        """Remove an object; gives False if it is missing, or not in the state of `unchanged`.

        Raises `StorageError`, and `RegistryError` for a symbolic link.
        """
        key = object_key(sha256)
        as_listed = None if unchanged is None else Entry(key, *unchanged[1:])
        return self._backend.delete(key, as_listed)

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

    def time_here(self, now: float) -> float:
        """The time by the clock of the temporary files here, when it is `now` by that of objects."""
        return self._files.time_here(now)

    def leftovers(self) -> list[Path]:
        """The temporary files of writers, at work or crashed; only their age distinguishes them."""
        return fs.temporary_files(self._tmp)

    def _actual(self, sha256: str) -> str:
        """The SHA-256 of the bytes that an object has."""
        with contextlib.closing(self.chunks(sha256)) as chunks:
            return hashing.sha256_of(chunks)

    def _renewed(self, stored: StoredObject) -> bool:
        """True if the object exists and is whole; its grace time then starts again."""
        key = object_key(stored.sha256)
        try:
            found = self._backend.head(key)
            if found is None or found.size != stored.size or not self.is_whole(stored.sha256):
                return False
        except StorageError:  # an unreadable object is written again
            return False
        return self._backend.renew(key)


def object_key(sha256: str) -> str:
    """The key of an object. Raises `InvalidArgument` for a bad digest."""
    if not _DIGEST.fullmatch(sha256):
        raise InvalidArgument(f"{sha256!r} is not a SHA-256 of 64 lower-case hexadecimal digits")
    return f"objects/{sha256[:2]}/{sha256}"


def _check_digest(sha256: str, actual: str) -> None:
    if actual != sha256:
        raise RegistryError(
            f"object {sha256} is damaged: its bytes have the SHA-256 {actual}", _RESTORE
        )
