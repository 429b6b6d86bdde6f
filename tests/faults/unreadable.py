"""Files that cannot be read to their end, though they open."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class _Failing:
    """An open file of which half is there: then comes `code`, or with None its end."""

    def __init__(self, file: Any, code: int | None) -> None:
        self._file, self._code = file, code
        self._end = os.fstat(file.fileno()).st_size // 2

    def read(self, size: int = -1) -> Any:
        left = max(0, self._end - int(self._file.tell()))
        if self._code is not None and (size < 0 or size > left):
            raise OSError(self._code, os.strerror(self._code))
        return self._file.read(left if size < 0 else min(left, size))

    def readinto(self, memory: Any) -> int:
        data = self.read(len(memory))
        memory[: len(data)] = data
        return len(data)

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def unreadable(path: Path, code: int | None = errno.EIO) -> Iterator[None]:
    """The second half of a file cannot be read, but through a mapping of it.

    `code`: the error; None: it is not there, as of a file that was cut after it was opened.
    """
    status = path.stat()
    real_open, real_preadv = io.open, os.preadv

    def open_file(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        opened = real_open(file, mode, *arguments, **named)
        if "b" in mode and os.path.samestat(os.fstat(opened.fileno()), status):
            return _Failing(opened, code)
        return opened

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        if (
            os.path.samestat(os.fstat(descriptor), status)
            and offset + len(buffers[0]) > status.st_size // 2
        ):
            if code is not None:
                raise OSError(code, os.strerror(code))
            return 0
        return real_preadv(descriptor, buffers, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_file)
        patch.setattr(os, "preadv", preadv)
        yield
