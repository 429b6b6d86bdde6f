"""A file that is read by ranges, as a stream: each step as with the system's own file."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from dsvd_registry.ranged_file import DiskFile, as_stream


def test_steps_as_in_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(0).randbytes(40_000))
    draw = random.Random(1)
    with path.open("rb") as known, as_stream(DiskFile(path)) as stream:
        for _ in range(200):
            whence = draw.choice((io.SEEK_SET, io.SEEK_CUR, io.SEEK_END))
            offset = draw.randrange(50_000) if whence == io.SEEK_SET else draw.randrange(-300, 300)
            if whence != io.SEEK_CUR or known.tell() + offset >= 0:
                assert stream.seek(offset, whence) == known.seek(offset, whence)
            size = draw.choice((0, 1, 77, 20_000))
            assert stream.read(size) == known.read(size)
            assert stream.tell() == known.tell()


def test_no_such_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with as_stream(DiskFile(tmp_path / "file")) as stream:
        assert stream.read(1) == b"a"
        with pytest.raises(ValueError, match="before the file"):
            stream.seek(-4, io.SEEK_END)
        with pytest.raises(ValueError, match="whence"):
            stream.seek(0, 9)
        assert stream.read() == b"bc"
