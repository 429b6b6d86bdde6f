"""A key of a backend that is far away, read by ranges.

What was fetched is kept in a scratch file, so that each byte travels once, and memory does not grow.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .. import fs
from ..closing import Closing
from ..errors import NotFound, RegistryError, StorageError
from ..ranged_file import Range
from .backend import Backend, Entry

HEAD = 64 << 10  # bytes fetched at once at the start of a file: its header mostly fits
MOST_BYTES = 8 << 20  # of one request
AT_ONCE = 4  # requests under way


class _Part(NamedTuple):
    """A range that was fetched, or is."""

    start: int
    stop: int
    fetched: Future[None]


class RemoteFile(Closing):
    """An open key of a backend. See `RangedFile`.

    `entry`: what the backend told of the key. `name`: the key with the registry's name.
    """

    is_near = False

    def __init__(self, backend: Backend, entry: Entry, name: str, tmp: Path) -> None:
        self.name, self.size = name, entry.size
        self.identity: tuple[object, ...] = (entry.key, entry.state)
        self._backend, self._key = backend, entry.key
        self._lock = threading.Lock()
        self._parts: list[_Part] = []  # in order, none over another
        self._closed = False
        with contextlib.ExitStack() as opened:
            fs.make_folder(tmp)
            self._scratch = opened.enter_context(fs.scratch_file(tmp))
            self._threads = ThreadPoolExecutor(AT_ONCE, "dsvd-fetch")
            opened.callback(self._threads.shutdown, cancel_futures=True)
            self._opened = opened.pop_all()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._opened.close()

    def _was_closed(self) -> ValueError:
        return ValueError(f"{self.name} was closed while it was read")

    def read(self, start: int, size: int) -> bytes:
        stop = min(start + size, self.size)
        if start >= stop:
            return b""
        ahead = min(self.size, HEAD) if start == 0 else 0
        for part in self._wanted(Range(start, max(stop, ahead))):
            if part.start < stop:
                self._wait(part)
        with fs.storage_errors(Path(self._scratch.name).parent), self._lock:
            return fs.read_back(self._scratch, start, stop - start)

    def expect(self, ranges: Iterable[Range]) -> None:
        for wanted in _joined(ranges):
            self._wanted(wanted)

    def _wanted(self, wanted: Range) -> list[_Part]:
        """The parts that have the range; those that are missing are begun to be fetched."""
        with self._lock:
            if self._closed:
                raise self._was_closed()
            there = self._overlapping(wanted)
            for missing in list(_gaps(wanted, there)):
                for start in range(missing.start, missing.stop, MOST_BYTES):
                    stop = min(start + MOST_BYTES, missing.stop)
                    part = _Part(start, stop, self._threads.submit(self._fetch, start, stop))
                    bisect.insort(self._parts, part, key=lambda one: one.start)
            return self._overlapping(wanted)

    def _overlapping(self, wanted: Range) -> list[_Part]:
        first = bisect.bisect_right(self._parts, wanted.start, key=lambda one: one.stop)
        last = bisect.bisect_left(self._parts, wanted.stop, key=lambda one: one.start)
        return self._parts[first:last]

    def _wait(self, part: _Part) -> None:
        try:
            part.fetched.result()
        except CancelledError as error:
            raise self._was_closed() from error
        except BaseException:
            with self._lock:  # the next reader tries again
                self._parts = [one for one in self._parts if one is not part]
            raise

    def _fetch(self, start: int, stop: int) -> None:
        try:
            data = self._backend.read(self._key, start, stop)
        except NotFound as error:
            raise RegistryError(
                f"{self.name} is gone", "Another program has removed it; try again."
            ) from error
        if len(data) != stop - start:
            raise StorageError(
                f"{self.name} has become shorter while it is read",
                "Check the store, and try again.",
            )
        with fs.storage_errors(Path(self._scratch.name).parent), self._lock:
            self._scratch.seek(start)
            self._scratch.write(data)


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """The ranges in order, neighbours as one."""
    joined: Range | None = None
    for one in sorted(ranges):
        if joined is not None and one.start <= joined.stop:
            joined = Range(joined.start, max(joined.stop, one.stop))
            continue
        if joined is not None:
            yield joined
        joined = one
    if joined is not None:
        yield joined


def _gaps(wanted: Range, there: Iterable[_Part]) -> Iterator[Range]:
    """The pieces of the range that no part has."""
    at = wanted.start
    for part in there:
        if part.start > at:
            yield Range(at, part.start)
        at = part.stop
    if at < wanted.stop:
        yield Range(at, wanted.stop)
