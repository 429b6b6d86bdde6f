"""The files of a registry that is elsewhere: read by ranges, or fetched whole into a cache.

The cache has the names of contents, so that all registries and programs of a machine may share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import fs
from ..cache import Cache
from ..errors import Conflict, NotFound, RegistryError
from ..fs import Bytes
from ..ranged_file import Range
from ..threads import in_order
from .backend import Backend, Entry
from .home import Found
from .remote_file import AT_ONCE, MOST_BYTES, RemoteFile

SMALL_AT_ONCE = 16  # requests for small keys, which mostly wait


class RemoteFiles:
    """The keys of a backend that is not on this machine. See `Files`.

    `name`: of the registry, for messages. `tmp`: a folder here, for what is being read.
    """

    def __init__(self, backend: Backend, name: str, tmp: Path, cache: Cache) -> None:
        self._backend, self._name, self._tmp, self._cache = backend, name, tmp, cache

    def open(self, key: str) -> RemoteFile:
        return RemoteFile(self._backend, self._entry(key), f"{self._name}/{key}", self._tmp)

    def chunks(self, key: str) -> Generator[Bytes, None, None]:
        yield from self._fetched(self._entry(key))

    def values(self, keys: Iterable[str], most: int) -> Generator[bytes, None, None]:
        pool = ThreadPoolExecutor(SMALL_AT_ONCE, "dsvd-fetch")
        try:
            yield from in_order(
                pool,
                lambda key: self._backend.read(key, 0, most),
                keys,
                lambda _: 1,
                2 * SMALL_AT_ONCE,
            )
        finally:
            pool.shutdown(cancel_futures=True)

    def local_files(self, wanted: Sequence[tuple[str, str]]) -> list[Path]:
        paths = [self._cache.path_of_object(sha256) for _, sha256 in wanted]
        missing = [
            (key, sha256, path)
            for (key, sha256), path in zip(wanted, paths, strict=True)
            if not _is_used(path)
        ]
        if missing:
            fs.make_folder(self._cache.folder)
            self._cache.remove_abandoned()
        for key, sha256, path in missing:
            turn = self._cache.folder / f"{fs.TEMPORARY_PREFIX}{sha256}"
            with fs.one_at_a_time(turn):
                if not _is_used(path):  # another client may have fetched it meanwhile
                    self._copy(key, sha256, path, paths)
        return paths

    def time_here(self, _: float, /) -> float:
        return time.time()

    def found(self, key: str) -> Found | None:
        entry = self._backend.head(key)
        return None if entry is None else Found(entry.state, entry.is_plain)

    def set_aside(self, key: str, found: Found, target: str) -> bool:
        entry = self._backend.head(key)
        if entry is None or entry.state != found.state:
            return False
        if self._backend.head(target) is not None:
            raise Conflict(f"{self._name}/{target} exists")
        with (
            self._backend.new_content() as content,
            contextlib.closing(self._fetched(entry)) as chunks,
        ):
            for chunk in chunks:
                content.write(chunk)
            content.publish(target)
        return self._backend.delete(key, entry)

    def _entry(self, key: str) -> Entry:
        entry = self._backend.head(key)
        if entry is None:
            raise NotFound(f"{self._name}/{key} does not exist")
        return entry

    def _fetched(self, entry: Entry) -> Generator[bytes, None, None]:
        """All bytes of a key, several requests at once."""
        starts = range(0, entry.size, MOST_BYTES)
        ranges = [Range(start, min(start + MOST_BYTES, entry.size)) for start in starts]
        pool = ThreadPoolExecutor(AT_ONCE, "dsvd-fetch")
        try:
            yield from in_order(
                pool,
                lambda one: self._backend.read(entry.key, one.start, one.stop),
                ranges,
                lambda one: one.stop - one.start,
                AT_ONCE * MOST_BYTES,
            )
        finally:
            pool.shutdown(cancel_futures=True)

    def _copy(self, key: str, sha256: str, path: Path, keep: Sequence[Path]) -> None:
        """Fetch a key into the cache; nothing of `keep` makes room for it."""
        entry = self._entry(key)
        self._cache.make_room(*keep, coming=entry.size)
        digest = hashlib.sha256()
        with (
            fs.new_file(self._cache.folder) as file,
            contextlib.closing(self._fetched(entry)) as chunks,
        ):
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise RegistryError(
                    f"{self._name}/{key} is damaged: its bytes have the SHA-256 {digest.hexdigest()}",
                    "Run `dsvd verify --all`, which says how to restore it.",
                )
            file.publish(path, replace=True, read_only=True)


def _is_used(path: Path) -> bool:
    """True if the cache has the file, which is then the one that was used last."""
    with fs.storage_errors(path):
        is_there = path.is_file()
    if is_there:
        fs.renew_time(path)
    return is_there
