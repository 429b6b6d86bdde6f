"""Keys of a backend that is far away: by ranges, each byte once; whole, in a cache that is shared."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsvd_registry import fs
from dsvd_registry.errors import RegistryError, StorageError
from dsvd_registry.ranged_file import Range
from dsvd_registry.store import ObjectStore
from dsvd_registry.store.objects import object_key
from dsvd_registry.store.remote_file import HEAD, MOST_BYTES, RemoteFile

from .memory_backend import MemoryBackend, remote_home

SIZE = 300_000


def put(backend: MemoryBackend, data: bytes) -> str:
    """Give an object these bytes; gives its SHA-256."""
    sha256 = hashlib.sha256(data).hexdigest()
    backend.put(object_key(sha256), data)
    return sha256


def opened(backend: MemoryBackend, sha256: str, here: Path) -> RemoteFile:
    file = remote_home(backend, here).files.open(object_key(sha256))
    assert not file.is_near
    return file


def test_each_byte_is_fetched_once(tmp_path: Path) -> None:
    """By several readers at once, in any order, some of it told before; nothing else is fetched."""
    backend, data = MemoryBackend(), random.Random(1).randbytes(SIZE)
    sha256, numbers = put(backend, data), random.Random(2)
    with opened(backend, sha256, tmp_path) as file, ThreadPoolExecutor(4) as pool:
        assert file.read(0, 10) == data[:10]
        assert backend.asked.reads == [
            (object_key(sha256), 0, HEAD)
        ]  # with what comes after a header
        starts = [numbers.randrange(HEAD, SIZE - 1000) for _ in range(60)]
        wanted = [(start, numbers.randrange(1, 1000)) for start in starts]
        file.expect(Range(start, start + size) for start, size in wanted[::2])
        found = pool.map(lambda one: file.read(*one), wanted)
        assert list(found) == [data[start : start + size] for start, size in wanted]
        touched = {at for start, size in wanted for at in range(start, start + size)}
        assert backend.asked.bytes_of(object_key(sha256)) == HEAD + len(touched)
        assert file.read(SIZE - 5, 10) == data[-5:] and file.read(SIZE, 10) == b""
    assert not list((tmp_path / "client/tmp").iterdir())


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    backend, data = MemoryBackend(), random.Random(1).randbytes(SIZE)
    file = opened(backend, put(backend, data), tmp_path)
    file.close()
    with pytest.raises(ValueError, match="was closed while it was read"):
        file.read(HEAD, 10)


def test_neighbours_come_in_one_request(tmp_path: Path) -> None:
    backend, data = MemoryBackend(), random.Random(3).randbytes(3 * MOST_BYTES)
    sha256 = put(backend, data)
    with opened(backend, sha256, tmp_path) as file:
        file.expect([Range(700, 900), Range(500, 700), Range(2000, 2100)])
        assert file.read(500, 400) == data[500:900] and file.read(2000, 100) == data[2000:2100]
        assert sorted(backend.asked.reads) == [
            (object_key(sha256), 500, 400),
            (object_key(sha256), 2000, 100),
        ]
        file.expect([Range(0, len(data))])
        assert file.read(0, len(data)) == data
        assert max(size for _, _, size in backend.asked.reads) == MOST_BYTES
        assert backend.asked.bytes_of(object_key(sha256)) == len(data)


def test_what_could_not_be_fetched_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that fails, one that is cut short, and a key that is gone: an error, and no wrong byte."""
    backend, data = MemoryBackend(), random.Random(4).randbytes(SIZE)
    sha256, read = put(backend, data), backend.read
    with opened(backend, sha256, tmp_path) as file:

        def refused(*_: object) -> bytes:
            raise StorageError("the line is cut")

        monkeypatch.setattr(backend, "read", refused)
        with pytest.raises(StorageError, match="cut"):
            file.read(1000, 10)
        monkeypatch.setattr(backend, "read", lambda *asked: read(*asked)[:-1])
        with pytest.raises(StorageError, match="shorter"):
            file.read(1000, 10)
        monkeypatch.setattr(backend, "read", read)
        assert file.read(1000, 10) == data[1000:1010]
        backend.delete(object_key(sha256))
        with pytest.raises(RegistryError, match="gone"):
            file.read(2000, 10)
        assert file.read(1000, 10) == data[1000:1010]


def test_a_whole_object_is_fetched_once_for_all(tmp_path: Path) -> None:
    """Eight clients at once, each with a folder of its own and one cache; the next needs no fetch."""
    backend, data = MemoryBackend(), random.Random(5).randbytes(SIZE)
    sha256 = put(backend, data)
    stores = [ObjectStore(remote_home(backend, tmp_path)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda store: store.local_file(sha256), stores))
    (path,) = paths
    assert path.read_bytes() == data
    assert backend.asked.reads == [(object_key(sha256), 0, SIZE)]
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [path.name]


def test_damage_does_not_come_into_the_cache(tmp_path: Path) -> None:
    backend, data = MemoryBackend(), random.Random(6).randbytes(SIZE)
    sha256 = put(backend, data)
    backend.put(object_key(sha256), data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RegistryError, match="is damaged"):
        ObjectStore(remote_home(backend, tmp_path)).local_file(sha256)
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(RegistryError, match="is missing"):
        ObjectStore(remote_home(backend, tmp_path)).local_file("0" * 64)


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    """The file that was used last longest ago goes; who has it open goes on reading it."""
    backend = MemoryBackend()
    objects = [put(backend, random.Random(seed).randbytes(1000)) for seed in range(4)]
    store = ObjectStore(remote_home(backend, tmp_path, limit=2500))
    first, second = (store.local_file(sha256) for sha256 in objects[:2])
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    assert store.local_file(objects[0]) == first  # used, and so the younger of the two
    with second.open("rb") as held:
        third = store.local_file(objects[2])
        assert first.exists() and third.exists() and not second.exists()
        assert hashlib.sha256(held.read()).hexdigest() == objects[1]
    together = store.local_files(objects)  # more than fit are all there: they are needed at once
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in together] == objects


def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    """One that is killed while it fetches keeps nobody waiting."""
    turn = tmp_path / "turn"
    held = (
        "import sys, time\nfrom pathlib import Path\nfrom dsvd_registry import fs\n"
        "with fs.one_at_a_time(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, turn], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_take, turn)
            assert not waiting.done()
            child.kill()
            waiting.result()
    assert not turn.exists()


def _take(turn: Path) -> None:
    with fs.one_at_a_time(turn):
        assert turn.exists()
