"""Frames that are read by several threads, cached for a while, and checked with the whole file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from spec.building import Built
from spec.sealing import payload_of, with_header
from spec.valid_vectors import many_frames, no_tensor

from dsvd_registry.container import frames
from dsvd_registry.container.reader import Container
from dsvd_registry.errors import ContainerError
from dsvd_registry.hashing import sha256


@pytest.mark.parametrize("make", [many_frames, no_tensor])
def test_checking_a_file_gives_its_digest(make: Callable, tmp_path: Path) -> None:
    data = make().build().file
    (tmp_path / "file.dsvd").write_bytes(data)
    with Container(tmp_path / "file.dsvd") as container:
        assert container.check_file() == sha256(data)


def test_another_header_over_the_same_payload(small: Built, tmp_path: Path) -> None:
    """A valid file, and another one: only the digest of all bytes tells."""
    data = with_header(small, lambda header: header["base"].update(name="another"))
    assert payload_of(data) == payload_of(small.file)
    (tmp_path / "file.dsvd").write_bytes(data)
    with Container(tmp_path / "file.dsvd") as container:
        assert container.check_file() == sha256(data) != sha256(small.file)


def test_damage_is_found(small: Built, tmp_path: Path) -> None:
    path = tmp_path / "file.dsvd"
    path.write_bytes(small.file[:-1] + bytes([small.file[-1] ^ 1]))
    with Container(path) as container, pytest.raises(ContainerError, match="components of 'low'"):
        container.check_file()


@pytest.mark.parametrize("cached", [0, 100, 1 << 20])
def test_several_threads(cached: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads read the right bytes, however few frames are cached."""
    monkeypatch.setattr(frames, "CACHED_BYTES", cached)
    (tmp_path / "file.dsvd").write_bytes(many_frames().build().file)
    with Container(tmp_path / "file.dsvd") as container, ThreadPoolExecutor(4) as pool:

        def read(number: int) -> list[object]:
            a, b = container.components(3 * (number % 2), 4)
            return [a.tolist(), b.tolist(), container.elements(1).tolist(), container.raw(5)]

        found = list(pool.map(read, range(40)))
    assert found[0::2] == [found[0]] * 20
    assert found[1::2] == [found[1]] * 20
    assert found[0][2:] == [[300 - 30 * k for k in range(20)], b"123456789"]


def test_runs_of_stored_bytes(tmp_path: Path) -> None:
    (tmp_path / "file.dsvd").write_bytes(many_frames().build().file)
    with Container(tmp_path / "file.dsvd") as container:
        sizes = container.raw_sizes(2)
        assert len(sizes) > 1
        runs = [bytes(container.raw_run(2, number)) for number in range(len(sizes))]
        assert list(map(len, runs)) == sizes
        assert b"".join(runs) == container.raw(2) == b"123456789"
        assert container.raw_sizes(0) == []
