"""Digests: SHA-256 identifies contents, XXH3-64 only detects damage."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from .errors import StorageError
from .fs import Bytes, storage_errors

READ_CHUNK = 4 << 20

_COMPLETE = "Run it again when the file is complete."


@dataclass(frozen=True)
class Source:
    """The checkpoint that a version was made of: its format, and its digest and size in bytes."""

    format: str
    sha256: str
    size: int


def sha256(data: Bytes) -> str:
    """The SHA-256 of `data`, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file's bytes.

    `progress` is called with the number of bytes hashed since the last call.
    Raises `StorageError`, also if the file becomes shorter while it is read.
    """
    digest = hashlib.sha256()
    with (
        storage_errors(path),
        path.open("rb", buffering=0) as file,
        contextlib.closing(_chunks(file)) as chunks,
    ):
        for chunk in chunks:
            digest.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()


def _chunks(file: io.FileIO) -> Generator[memoryview, None, None]:
    """Read a file in chunks, the next one in the background.

    Two buffers take turns, so a chunk is valid only until the next one is requested.
    """
    size = os.fstat(file.fileno()).st_size
    # Imported here because commands that hash no file would pay for the import.
    from concurrent.futures import ThreadPoolExecutor

    current, following = (memoryview(bytearray(min(READ_CHUNK, size + 1))) for _ in range(2))
    done = 0
    with ThreadPoolExecutor(1) as reader:
        read = file.readinto(current)
        while read:
            done += read
            ahead = reader.submit(file.readinto, following)
            yield current[:read]
            current, following, read = following, current, ahead.result()
    if done < size:
        raise StorageError(f"{file.name} has become shorter while it is read", _COMPLETE)


def xxh3(data: Bytes) -> str:
    """The XXH3-64 (seed 0) of `data`, 16 lower-case hexadecimal digits, most significant first."""
    return xxhash.xxh3_64_hexdigest(data)
