"""A registry whose bytes are in memory, behind the protocol of a backend alone, and what is asked of it.

Nothing of it is a file, so whatever needs one has to fetch it, as from a bucket.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsvd_registry import Registry
from dsvd_registry.cache import Cache
from dsvd_registry.errors import Conflict, NotFound
from dsvd_registry.fs import Bytes
from dsvd_registry.registry.repository import opened
from dsvd_registry.store.backend import Entry, checked_key
from dsvd_registry.store.remote_registry import RemoteRegistry


@dataclass
class Asked:
    """The ranges that were read: a key, where from, how many bytes came."""

    reads: list[tuple[str, int, int]] = field(default_factory=list)

    def bytes_of(self, key: str) -> int:
        return sum(size for name, _, size in self.reads if name == key)

    def requests_of(self, key: str) -> int:
        return sum(name == key for name, _, _ in self.reads)


class _Content:
    def __init__(self, backend: MemoryBackend, spool: Path) -> None:
        self._backend, self._spool = backend, spool

    def write(self, data: Bytes) -> None:
        with self._spool.open("ab") as file:
            file.write(data)

    def readable(self) -> Path:
        return self._spool

    def publish(self, key: str) -> None:
        self._backend.put(key, self._spool.read_bytes())


class MemoryBackend:
    """Keys in a dictionary; its clock may differ from this machine's by `clock` seconds."""

    def __init__(self, clock: float = 0.0) -> None:
        self.asked = Asked()
        self.clock = clock
        self._kept: dict[str, tuple[bytes, float, str]] = {}
        self._states = itertools.count()
        self._lock = threading.Lock()

    def create(self, key: str, data: Bytes) -> None:
        with self._lock:
            if checked_key(key) in self._kept:
                raise Conflict(f"{key} exists")
            self._kept[key] = bytes(data), self._now(), str(next(self._states))

    @contextlib.contextmanager
    def new_content(self) -> Iterator[_Content]:
        with tempfile.TemporaryDirectory() as folder:
            spool = Path(folder, "spool")
            spool.touch()
            yield _Content(self, spool)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        with self._lock:
            if checked_key(key) not in self._kept:
                raise NotFound(f"{key} does not exist")
            data = self._kept[key][0][start:stop]
            self.asked.reads.append((key, start, len(data)))
            return data

    def head(self, key: str) -> Entry | None:
        with self._lock:
            kept = self._kept.get(checked_key(key))
        return None if kept is None else Entry(key, len(kept[0]), kept[1], kept[2])

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        for key in sorted(key for key in self._kept if key.startswith(prefix) and key > after):
            entry = self.head(key)
            if entry is not None:
                yield entry

    def delete(self, key: str, unchanged: Entry | None = None) -> bool:
        with self._lock:
            kept = self._kept.get(checked_key(key))
            if kept is None or (unchanged is not None and kept[2] != unchanged.state):
                return False
            del self._kept[key]
            return True

    def renew(self, key: str) -> bool:
        with self._lock:
            if checked_key(key) not in self._kept:
                return False
            data, _, _ = self._kept[key]
            self._kept[key] = data, self._now(), str(next(self._states))
            return True

    def now(self) -> float:
        return self._now()

    def settle(self, *prefixes: str) -> None:
        pass

    def put(self, key: str, data: bytes) -> None:
        """Give a key these bytes, whatever it has."""
        with self._lock:
            self._kept[checked_key(key)] = data, self._now(), str(next(self._states))

    def age(self, seconds: float) -> None:
        """Make every key older."""
        with self._lock:
            self._kept = {
                key: (data, mtime - seconds, str(next(self._states)))
                for key, (data, mtime, _) in self._kept.items()
            }

    def _now(self) -> float:
        return time.time() + self.clock


def remote_home(backend: MemoryBackend, here: Path, limit: int = 10**9) -> RemoteRegistry:
    """The home of a registry in that backend, for a client that has the folder `here`."""
    return RemoteRegistry(
        here / "client", "memory://registry", backend, Cache(here / "cache", limit)
    )


def remote_registry(backend: MemoryBackend, here: Path, limit: int = 10**9) -> Registry:
    """A registry in that backend, opened; empty if nothing is in it yet."""
    return Registry(opened(remote_home(backend, here, limit), None))
