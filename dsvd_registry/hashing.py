"""Digests: SHA-256 identifies contents, XXH3-64 only detects damage; model sites show others as well."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import xxhash

from .errors import StorageError
from .fs import Bytes, storage_errors

READ_CHUNK = 4 << 20

DIGEST_DIGITS = {
    "sha256": 64,
    "blake3": 64,
    "crc32": 8,
    "autov1": 8,
    "autov3": 64,
    "sshs_model_hash": 64,
}
"""The digests that people know a file by, and how many hexadecimal digits each has.

`autov1`: the first digits of the SHA-256 of 64 KiB in the file's second MiB. `autov3`: the SHA-256 of
a safetensors file without its header, of which sites show 12 digits. `sshs_model_hash`: the one that
a file's own metadata claims, which user interfaces show without looking further. AutoV2 is the start
of `sha256`.
"""

AUTOV1_BEGIN, AUTOV1_END = 0x100000, 0x110000
MOST_HEADER = 100_000_000  # bytes of a safetensors header
SMALL_CHUNK = 1 << 16  # not worth a thread

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
    with contextlib.closing(file_chunks(path)) as chunks:
        return sha256_of(chunks if progress is None else _told(chunks, progress))


def sha256_of(chunks: Iterable[Bytes]) -> str:
    """The SHA-256 of the bytes that come in chunks."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def file_chunks(path: Path) -> Generator[memoryview, None, None]:
    """The bytes of a file, the next chunk read meanwhile; each is valid until the next one.

    Raises as `sha256_file`. Close the generator if you stop early.
    """
    with (
        storage_errors(path),
        path.open("rb", buffering=0) as file,
        contextlib.closing(_chunks(file)) as chunks,
    ):
        yield from chunks


def all_digests(chunks: Iterable[Bytes]) -> dict[str, str]:
    """Every digest in `DIGEST_DIGITS` that the bytes of a file give, from one pass over its chunks.

    A file of at most 1 MiB has no `autov1`, a file that is not safetensors no `autov3`.
    """
    # Imported here because commands that hash no file would pay for the import.
    from concurrent.futures import ThreadPoolExecutor

    whole, others = _WholeDigests(), _OtherDigests()
    with ThreadPoolExecutor(1) as beside:
        for chunk in chunks:
            with memoryview(chunk) as view:
                if len(view) <= SMALL_CHUNK:
                    others.update(view)
                    whole.update(view)
                    continue
                done = beside.submit(others.update, view)
                whole.update(view)
                done.result()  # because the memory of a chunk is used again
    return {**whole.digests(), **others.digests()}


def all_digests_of_file(
    path: Path, progress: Callable[[int], None] | None = None
) -> dict[str, str]:
    """The digests of `all_digests` of the file at `path`; `progress` and errors as in `sha256_file`."""
    with contextlib.closing(file_chunks(path)) as chunks:
        return all_digests(chunks if progress is None else _told(chunks, progress))


class _WholeDigests:
    """The SHA-256 and the CRC-32 of a file, which together take about as long as all others."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._crc32 = 0

    def update(self, chunk: memoryview) -> None:
        self._sha256.update(chunk)
        self._crc32 = zlib.crc32(chunk, self._crc32)

    def digests(self) -> dict[str, str]:
        return {"sha256": self._sha256.hexdigest(), "crc32": f"{self._crc32:08x}"}


class _OtherDigests:
    """The digests besides those of `_WholeDigests`."""

    def __init__(self) -> None:
        from blake3 import blake3

        self._blake3 = blake3()
        self._autov1 = hashlib.sha256()
        self._tensors = hashlib.sha256()
        self._start = b""  # of the file: the size of a safetensors header, and its first character
        self._size = 0

    def update(self, chunk: memoryview) -> None:
        position = self._size
        if len(self._start) < 9:
            self._start += bytes(chunk[: 9 - len(self._start)])
        self._blake3.update(chunk)
        self._autov1.update(_between(chunk, position, AUTOV1_BEGIN, AUTOV1_END))
        # A header has at least two bytes, so nothing of the tensors comes before it is known.
        self._tensors.update(_between(chunk, position, self._header_end(), None))
        self._size = position + len(chunk)

    def digests(self) -> dict[str, str]:
        found = {"blake3": self._blake3.hexdigest()}
        if self._size > AUTOV1_BEGIN:
            found["autov1"] = self._autov1.hexdigest()[: DIGEST_DIGITS["autov1"]]
        starts_well = self._start[8:] in (b"{", b" ", b"\t", b"\n", b"\r")
        if starts_well and self._header_end() <= min(self._size, MOST_HEADER + 8):
            found["autov3"] = self._tensors.hexdigest()
        return found

    def _header_end(self) -> int:
        return 8 + int.from_bytes(self._start[:8], "little")


def _between(chunk: memoryview, position: int, begin: int, end: int | None) -> memoryview:
    """The part of a chunk, which lies at `position` in its file, from `begin` to `end` in the file."""
    return chunk[max(0, begin - position) : None if end is None else max(0, end - position)]


def _told(
    chunks: Generator[memoryview, None, None], progress: Callable[[int], None]
) -> Generator[memoryview, None, None]:
    for chunk in chunks:
        size = len(chunk)
        yield chunk
        progress(size)


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
