"""Digests of files, read ahead in chunks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dsvd_registry import hashing
from dsvd_registry.errors import StorageError
from dsvd_registry.hashing import sha256_file


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 128, 129, 640, 1000])
def test_sha256_of_a_file(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "READ_CHUNK", 64)
    data = bytes(i * i % 251 for i in range(size))
    (tmp_path / "file").write_bytes(data)
    steps: list[int] = []
    assert sha256_file(tmp_path / "file", steps.append) == hashlib.sha256(data).hexdigest()
    assert sum(steps) == size
    assert all(0 < step <= 64 for step in steps)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StorageError, match=str(path)):
            sha256_file(path)


def test_progress_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt by the user raises from the progress callback."""
    monkeypatch.setattr(hashing, "READ_CHUNK", 64)
    (tmp_path / "file").write_bytes(bytes(1000))

    def interrupt(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sha256_file(tmp_path / "file", interrupt)
