"""Damage that is met before or while a file is sent: an error, never wrong bytes, and a log that says
what is damaged.
"""

from __future__ import annotations

import http.client
import os
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import BaseMismatch, StorageError
from dsvd_registry.registry.results.base_files import base_files, open_base_file

from .conftest import Shelf
from .large import Large, flip, make_large, received, slow_reader
from .running import SECONDS, RunningServer, serving

PATH = "/v1/materialize/tuned"
LAST = "layer3.weight"


@pytest.fixture
def large(tmp_path: Path) -> Large:
    (tmp_path / "large").mkdir()
    return make_large(tmp_path / "large")


def refused(server: RunningServer, path: str, name: str) -> None:
    """The status 500 without a path of the machine, which stands in the log."""
    found = server.get(path)
    assert (found.status, name in server.logged()) == (500, True)
    assert os.fsencode(name) not in found.body
    assert b"/" not in found.body.replace(b"application/", b"")


def test_a_base_that_is_damaged_halfway_breaks_the_response_off(
    large: Large, tmp_path: Path
) -> None:
    with serving(large.registry, tmp_path) as server, slow_reader(server, PATH) as reader:
        start = received(reader, 1 << 16)
        flip(large.base_file, large.base_file.stat().st_size - 100)
        head, _, body = (start + received(reader)).partition(b"\r\n\r\n")
        assert f"content-length: {len(large.tuned)}".encode() in head
        assert (1 << 15) < len(body) < len(large.tuned)
        assert large.tuned.startswith(body)
        assert LAST in server.logged()
        assert "tuned@1, model.safetensors: broken off" in server.logged()
        assert server.figure('dsvd_responses_broken_off_total{reason="damage"}') == 1
        # What does not need the damaged tensor is still given; a client sees the other cut off.
        assert server.get(PATH, Range="bytes=100-999").body == large.tuned[100:1000]
        found = server.get(PATH, Range=f"bytes={len(large.tuned) - 10}-")
        assert found.status == 500
        connection = http.client.HTTPConnection(*server.address, timeout=SECONDS)
        connection.request("GET", PATH)
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            connection.getresponse().read()
        connection.close()


def test_a_base_that_is_gone(large: Large, tmp_path: Path) -> None:
    moved = large.base_file.rename(tmp_path / "away")
    with serving(large.registry, tmp_path) as server:
        refused(server, PATH, str(large.base_file))
        refused(server, "/bases/base/resolve/main/model.safetensors", str(large.base_file))
        moved.rename(large.base_file)
        assert server.get(PATH).body == large.tuned


def test_a_damaged_container(large: Large, tmp_path: Path) -> None:
    with Registry.open(large.registry) as registry:
        container = registry.version("tuned").container
        place = registry.repository.objects.local_file(container)
    size = place.stat().st_size
    with serving(large.registry, tmp_path) as server:
        flip(place, size - 10)
        refused(server, PATH, container)
        flip(place, size - 10)
        assert server.get(PATH).body == large.tuned


def test_a_base_is_never_served_with_other_bytes(large: Large, tmp_path: Path) -> None:
    truth = large.base_file.read_bytes()
    path = "/bases/base/resolve/main/model.safetensors"
    with serving(large.registry, tmp_path) as server:
        assert server.get(path).body == truth
        times = large.base_file.stat()
        flip(large.base_file, 5000)
        os.utime(large.base_file, ns=(times.st_atime_ns, times.st_mtime_ns))
        refused(server, path, str(large.base_file))
        found = server.get(path, Range="bytes=0-9")
        assert found.status == 500  # also for a part that is not damaged
        flip(large.base_file, 5000)
        assert server.get(path).body == truth


def test_a_damaged_base_of_the_store(shelf: Shelf, tmp_path: Path) -> None:
    with Registry.init(tmp_path / "registry") as registry:
        base = registry.add_base("base", shelf.base)
        (file,) = (f for f in base_files(base, registry.repository) if f.path == "vae/config.json")
        place = registry.repository.objects.local_file(file.sha256)
    with serving(tmp_path / "registry", tmp_path / "run") as server:
        flip(place, 5)
        refused(server, "/bases/base/resolve/main/vae/config.json", file.sha256)
        assert server.get("/bases/base/resolve/main/unet/config.json").status == 200


def test_the_files_of_a_linked_folder(shelf: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    for path in shelf.base.rglob("*.*"):
        (folder / path.relative_to(shelf.base)).parent.mkdir(parents=True, exist_ok=True)
        (folder / path.relative_to(shelf.base)).write_bytes(path.read_bytes())
    with Registry.init(tmp_path / "registry") as registry:
        base = registry.add_base("linked", folder, link=True)
        stored = registry.repository
        listed = base_files(base, stored)
        assert [f.path for f in listed] == sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*.*")
        )
        for file in listed:
            with open_base_file(base, file.path, stored) as opened:
                assert opened.read_at(0, file.size + 10) == (folder / file.path).read_bytes()
                assert opened.read_at(7, 5) == (folder / file.path).read_bytes()[7:12]
        flip(folder / "vae/config.json", 5)
        with pytest.raises((BaseMismatch, StorageError)):
            base_files(base, stored)
