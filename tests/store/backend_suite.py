"""The conformance suite of backends: what each promises, tried on every one.

A module of tests subclasses `BackendSuite` and gives the fixture `backend`; `again` opens the same place
once more, as another program would.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dsvd_registry.errors import Conflict, InvalidArgument, NotFound
from dsvd_registry.store.backend import Backend

Again = Callable[[], Backend]
DATA = bytes(range(256)) * 300
FIRST, SECOND = "events/000000/000000001.json", "events/000000/000000002.json"


def object_key(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"objects/{digest[:2]}/{digest}"


def put(backend: Backend, data: bytes) -> str:
    """Writes an object in pieces; gives its key."""
    with backend.new_content() as content:
        for start in range(0, len(data), 1000):
            content.write(memoryview(data)[start : start + 1000])
        assert content.readable().read_bytes() == data
        content.publish(object_key(data))
    return object_key(data)


def keys(backend: Backend, prefix: str, after: str = "") -> list[str]:
    return [entry.key for entry in backend.list(prefix, after)]


class BackendSuite:
    """The tests. Each begins with an empty registry.

    `tick`: the seconds after which the clock of the backend shows another time. `races`: how often
    sixteen writers race.
    """

    tick = 0.0
    races = 10

    def test_nothing_is_there(self, backend: Backend) -> None:
        assert keys(backend, "objects/") == keys(backend, "events/") == []
        assert backend.head(FIRST) is None
        assert not backend.renew(FIRST) and not backend.delete(FIRST)
        with pytest.raises(NotFound):
            backend.read(FIRST)

    def test_a_key_is_created_once(self, backend: Backend, again: Again) -> None:
        backend.create(FIRST, DATA)
        with pytest.raises(Conflict):
            backend.create(FIRST, b"other")
        with pytest.raises(Conflict):
            again().create(FIRST, DATA)
        assert again().read(FIRST) == DATA
        assert keys(backend, "events/") == [FIRST]

    def test_ranges(self, backend: Backend) -> None:
        backend.create(FIRST, DATA)
        for start, stop in [(0, 0), (0, 1), (5, 5000), (70_000, 90_000), (90_000, 90_001), (9, 3)]:
            assert backend.read(FIRST, start, stop) == DATA[start:stop], (start, stop)
        assert backend.read(FIRST, 76_000) == DATA[76_000:]

    def test_an_empty_value_is_there(self, backend: Backend) -> None:
        backend.create(FIRST, b"")
        found = backend.head(FIRST)
        assert found is not None and found.size == 0
        assert backend.read(FIRST) == b""

    def test_content_is_there_when_it_is_published(self, backend: Backend, again: Again) -> None:
        with backend.new_content() as content:
            content.write(DATA)
            assert keys(again(), "objects/") == []
        assert keys(again(), "objects/") == []
        key = put(backend, DATA)
        assert again().read(key) == DATA
        found = again().head(key)
        assert found is not None and (found.key, found.size) == (key, len(DATA))
        assert put(again(), DATA) == key  # the same bytes once more
        assert keys(backend, "objects/") == [key]

    def test_content_that_failed_is_gone(self, backend: Backend) -> None:
        with pytest.raises(ZeroDivisionError), backend.new_content() as content:
            content.write(DATA)
            raise ZeroDivisionError
        assert keys(backend, "objects/") == []

    def test_listing(self, backend: Backend, again: Again) -> None:
        """In the order of the keys, which is that of the numbers; the heads say the same."""
        events = [
            f"events/{n // 1000:06}/{n:09}.json" for n in (1, 2, 9, 10, 999, 1000, 1001, 2000)
        ]
        for key in reversed(events):
            backend.create(key, key.encode())
        objects = sorted(put(backend, bytes([n])) for n in range(20))
        assert keys(again(), "events/") == events
        assert keys(again(), "objects/") == objects
        assert keys(backend, "events/000001/") == events[5:7]
        assert keys(backend, "events/000007/") == []
        for number, key in enumerate(events):
            assert keys(backend, "events/", key) == events[number + 1 :]
        assert keys(backend, "events/", "events/000000/000000500.json") == events[4:]
        for entry in backend.list("events/"):
            assert entry == backend.head(entry.key) and entry.size == len(entry.key)
            assert entry.is_plain

    def test_deleting(self, backend: Backend, again: Again) -> None:
        key = put(backend, DATA)
        assert again().delete(key)
        assert not backend.delete(key)
        assert backend.head(key) is None and keys(backend, "objects/") == []
        assert put(backend, DATA) == key and again().read(key) == DATA

    def test_a_renewed_key_is_not_deleted_as_unchanged(
        self, backend: Backend, again: Again
    ) -> None:
        key = put(backend, DATA)
        marked = backend.head(key)
        assert marked is not None
        assert again().renew(key)
        renewed = backend.head(key)
        assert renewed is not None and renewed.state != marked.state
        assert renewed.mtime >= marked.mtime
        assert not backend.delete(key, marked)
        assert backend.read(key) == DATA
        assert backend.delete(key, renewed)

    def test_a_key_written_anew_is_not_deleted_as_unchanged(
        self, backend: Backend, again: Again
    ) -> None:
        key = put(backend, DATA)
        marked = backend.head(key)
        assert backend.delete(key)
        time.sleep(self.tick)
        assert put(again(), DATA) == key
        assert not backend.delete(key, marked)
        assert backend.read(key) == DATA

    @pytest.mark.parametrize(
        "key",
        [
            "", "objects", "objects/", "/etc/passwd", "objects/../registry.json", "objects/./a",
            "objects//a", "../objects/a", "objects/a/..", "objects/.hidden", "objects/a\0b",
            "objects/a b", "objects/a\n", "objects\\a", "objects/ä", "C:/a", "objects/" + "a" * 300,
        ],
    )  # fmt: skip
    def test_names_that_try_to_leave(self, backend: Backend, key: str) -> None:
        calls: list[Callable[[str], object]] = [
            backend.read, backend.head, backend.delete, backend.renew,
            lambda key: backend.create(key, b"x"), lambda key: self._publish(backend, key),
            lambda key: list(backend.list(f"{key}/")),
        ]  # fmt: skip
        for number, call in enumerate(calls):
            if key == "objects" and number == 6:  # a prefix, and no key
                continue
            with pytest.raises(InvalidArgument):
                call(key)
        assert keys(backend, "objects/") == []

    def _publish(self, backend: Backend, key: str) -> None:
        with backend.new_content() as content:
            content.write(b"x")
            content.publish(key)

    def test_sixteen_writers_of_one_key(self, backend: Backend, again: Again) -> None:
        """One of them creates it, and its bytes are what all read from then on."""
        with ThreadPoolExecutor(16) as pool:
            for turn in range(self.races):
                key = f"events/000000/{turn + 1:09}.json"
                barrier = threading.Barrier(16)

                def write(
                    number: int, key: str = key, barrier: threading.Barrier = barrier
                ) -> bool:
                    opened = again()
                    barrier.wait()
                    try:
                        opened.create(key, str(number).encode() * 1000)
                    except Conflict:
                        return False
                    return True

                won = [number for number, one in enumerate(pool.map(write, range(16))) if one]
                assert len(won) == 1
                assert backend.read(key) == str(won[0]).encode() * 1000

    def test_readers_see_whole_values(self, backend: Backend, again: Again) -> None:
        """While others write: what is listed can be read, and is what was written; none is left out."""
        values = {f"events/000000/{n:09}.json": bytes([n]) * 50_000 for n in range(1, 41)}
        done = threading.Event()

        def write() -> None:
            opened = again()
            for key, value in values.items():
                opened.create(key, value)
            done.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not done.is_set() and not writing.done():
                found = keys(backend, "events/")
                assert found == list(values)[: len(found)]
                for key in found[-3:]:
                    assert backend.read(key) == values[key]
            writing.result()
        assert keys(backend, "events/") == list(values)
        backend.settle("events/000000")
