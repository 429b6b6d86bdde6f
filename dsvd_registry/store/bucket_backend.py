"""The backend of a registry in a bucket: S3 and what is compatible with it, Google's, Azure's.

Each key is an object of the service. `create` is a conditional write (`If-None-Match: *`), of which
the service lets one succeed. No service renews the time of an object without its bytes, so `renew`
writes a small one beside it, with bytes drawn at random: `KEY.renewed`, which is no key.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .. import fs
from ..errors import Conflict, InvalidArgument, NotFound, StorageError
from ..fs import Bytes
from .backend import Entry, LocalContent, checked_key
from .bucket_errors import Deed, ServiceRefusal
from .bucket_url import PATIENCE, BucketUrl, Patience

if TYPE_CHECKING:  # an extra, which a local registry does not need
    from obstore import GetOptions, ObjectMeta

T = TypeVar("T")

_RENEWED = ".renewed"
_OBJECTS = "objects/"
_CLOCK = "clock/now"
_PART = 8 << 20
_MOST_PARTS = 9_000  # S3 takes 10,000
_PARTS_AT_ONCE = 4
_PAGE = 1000  # keys in an answer of S3
_ATTEMPTS = 3


class BucketBackend:
    """The objects of a service below the prefix of a URL.

    `spool`: a folder of this machine for what is being written, made if it is missing.
    """

    def __init__(self, url: BucketUrl, spool: Path, patience: Patience = PATIENCE) -> None:
        self.url = url
        self._spool = spool
        self._patience = patience
        self._store = url.store(patience)

    def create(self, key: str, data: Bytes) -> None:
        import obstore

        path, value = checked_key(key), bytes(data)
        try:
            self._sent("write", lambda: obstore.put(self._store, path, value, mode="create"))
        except obstore.exceptions.AlreadyExistsError as error:
            # It may be our own, if an answer was lost: whoever needs to know compares the bytes.
            raise Conflict(f"{self.url}/{key} exists already") from error

    @contextlib.contextmanager
    def new_content(self) -> Iterator[LocalContent]:
        fs.make_folder(self._spool)
        with fs.new_file(self._spool) as file:
            yield LocalContent(file, self._publish)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        import obstore

        path = checked_key(key)
        if stop is not None and stop <= start:
            self._meta(path)
            return b""

        def part() -> bytes:
            if start == 0 and stop is None:
                found = obstore.get(self._store, path)
            else:
                wanted: GetOptions = {"range": (start, stop) if stop else {"offset": start}}
                found = obstore.get(self._store, path, options=wanted)
            data = bytes(found.bytes())
            if len(data) != found.range[1] - found.range[0]:
                raise StorageError(f"the answer for {self.url}/{key} is not complete")
            return data

        try:
            return self._sent("read", part)
        except _BeyondTheEnd:
            self._meta(path)
            return b""

    def head(self, key: str) -> Entry | None:
        try:
            found = self._meta(checked_key(key))
        except NotFound:
            return None
        return _entry(found, self._renewal(key))

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        checked_key(prefix.removesuffix("/") + "/0")
        waiting: ObjectMeta | None = None
        for found in self._listed(prefix.removesuffix("/"), after):
            if waiting is not None and found["path"] == waiting["path"] + _RENEWED:
                yield _entry(waiting, found)
                waiting = None
                continue
            if waiting is not None:
                yield _entry(waiting, None)
            waiting = None if found["path"].endswith(_RENEWED) else found
        if waiting is not None:
            yield _entry(waiting, None)

    def _listed(self, folder: str, after: str) -> Iterator[ObjectMeta]:
        """All that the service lists, in the order of the keys; it goes on after a break."""
        import obstore

        last = after

        def page() -> Sequence[ObjectMeta]:
            # From its beginning: a stream that broke off gives no more.
            stream = obstore.list(self._store, folder, offset=last or None, chunk_size=_PAGE)
            return next(iter(stream), ())

        while True:
            chunk = self._sent("list", page)
            for found in chunk:
                if found["path"] <= last:
                    raise StorageError(
                        f"{self.url} lists its keys in no order",
                        "Use a bucket of another kind: a registry needs them in order.",
                    )
                last = found["path"]
                yield found
            if len(chunk) < _PAGE:
                return

    def delete(self, key: str, unchanged: Entry | None = None) -> bool:
        import obstore

        found = self.head(key)
        if found is None or (unchanged is not None and found.state != unchanged.state):
            return False
        self._sent("delete", lambda: obstore.delete(self._store, key))
        if key.startswith(_OBJECTS):
            with contextlib.suppress(FileNotFoundError):
                self._sent("delete", lambda: obstore.delete(self._store, key + _RENEWED))
        return True

    def renew(self, key: str) -> bool:
        import obstore

        if self.head(key) is None:
            return False
        if not key.startswith(_OBJECTS):
            raise InvalidArgument(f"{key} is no object, and is never renewed")
        drawn = os.urandom(16).hex().encode()
        self._sent("write", lambda: obstore.put(self._store, key + _RENEWED, drawn))
        # Garbage collection may have deleted it in between.
        return self.head(key) is not None

    def settle(self, *prefixes: str) -> None:
        """Nothing: what the service has confirmed is durable."""

    def now(self) -> float:
        """The time by the clock of the service. Raises `StorageError`."""
        import obstore

        self._sent("write", lambda: obstore.put(self._store, _CLOCK, b""))
        return self._meta(_CLOCK)["last_modified"].timestamp()

    def _publish(self, file: fs.NewFile, key: str) -> None:
        """Write the bytes of a file under a key, in parts if they are many. Raises `StorageError`."""
        import obstore

        file.flush()
        with fs.storage_errors(file.path):
            size = file.path.stat().st_size
        part = max(_PART, -(-size // _MOST_PARTS))
        self._sent(
            "write",
            lambda: obstore.put(
                self._store,
                checked_key(key),
                file.path,
                use_multipart=size > part,
                chunk_size=part,
                max_concurrency=_PARTS_AT_ONCE,
            ),
        )

    def _meta(self, path: str) -> ObjectMeta:
        import obstore

        return self._sent("read", lambda: obstore.head(self._store, path))

    def _renewal(self, key: str) -> ObjectMeta | None:
        if not key.startswith(_OBJECTS):
            return None
        try:
            return self._meta(key + _RENEWED)
        except NotFound:
            return None

    def _sent(self, deed: Deed, request: Callable[[], T]) -> T:
        """The answer to a request, which is sent again where that may help."""
        from obstore.exceptions import AlreadyExistsError, BaseError

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return request()
            except AlreadyExistsError:
                raise
            except (BaseError, OSError, StorageError) as error:
                refusal = ServiceRefusal.of(error)
                if refusal.status == 416:
                    raise _BeyondTheEnd from error
                if isinstance(error, FileNotFoundError) and not refusal.is_missing_bucket:
                    raise NotFound(f"{self.url} has no such key") from error
                if attempt == _ATTEMPTS or not refusal.is_passing:
                    raise refusal.error(str(self.url), deed) from error
            time.sleep(random.uniform(0, self._patience.pause * 2 ** (attempt + 1)))
        raise AssertionError("the last attempt returns or raises")


class _BeyondTheEnd(Exception):
    """A range that begins behind the last byte."""


def _entry(found: ObjectMeta, renewal: ObjectMeta | None) -> Entry:
    states = [_state(one) for one in (found, renewal) if one is not None]
    mtime = max(_seconds(one["last_modified"]) for one in (found, renewal) if one is not None)
    return Entry(found["path"], found["size"], mtime, " ".join(states))


def _state(one: ObjectMeta) -> str:
    # Some services quote the tag in a listing, some in the answer for one key.
    tag = (one["e_tag"] or "").strip('"')
    return f"{tag}-{one['version'] or ''}-{_seconds(one['last_modified'])}"


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
