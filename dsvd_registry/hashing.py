"""Digests. SHA-256 names things; XXH3-64 only finds damage."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import xxhash

from .errors import StorageError
from .fs import Bytes, storage_errors

READ_CHUNK = 4 << 20
WEIGHTS_DOMAIN = b"dsvd weights v1\n"

_COMPLETE = "Run it again when the file is complete."


@dataclass(frozen=True)
class Fingerprint:
    """One tensor by content: `sha256` is that of its little-endian C-order bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Source:
    """The checkpoint that a version was made of: its format, and its digest and size in bytes."""

    format: str
    sha256: str
    size: int


def sha256(data: Bytes) -> str:
    """SHA-256 of `data`, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file's bytes. Raises `StorageError`, also if it becomes shorter meanwhile.

    `progress` is called with the number of bytes hashed since the last call.
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
    """A file's bytes, each chunk gone when the next is asked for, which is read ahead meanwhile."""
    size = os.fstat(file.fileno()).st_size
    # Only here: it loads what no listing of versions needs.
    from concurrent.futures import ThreadPoolExecutor

    this, other = (memoryview(bytearray(min(READ_CHUNK, size + 1))) for _ in range(2))
    done = 0
    with ThreadPoolExecutor(1) as reader:
        read = file.readinto(this)
        while read:
            done += read
            ahead = reader.submit(file.readinto, other)
            yield this[:read]
            this, other, read = other, this, ahead.result()
    if done < size:
        raise StorageError(f"{file.name} has become shorter while it is read", _COMPLETE)


def xxh3(data: Bytes) -> str:
    """XXH3-64 (seed 0) of `data`, 16 lower-case hexadecimal digits, most significant first."""
    return xxhash.xxh3_64_hexdigest(data)


def weights_digest(tensors: Iterable[Fingerprint]) -> str:
    """The identity of a set of tensors, whatever file holds them (spec: "Digest of a base").

    SHA-256 over `dsvd weights v1\\n`, the tensor count as u64, then per tensor, sorted by the
    UTF-8 bytes of its name: u32 length and bytes of the name, u32 length and ASCII bytes of the
    dtype, u32 number of dimensions, each as u64, and the 32 bytes of its SHA-256; little-endian.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    digest = hashlib.sha256(WEIGHTS_DOMAIN + struct.pack("<Q", len(ordered)))
    for tensor in ordered:
        name, dtype = tensor.name.encode(), tensor.dtype.encode()
        digest.update(struct.pack("<I", len(name)) + name)
        digest.update(struct.pack("<I", len(dtype)) + dtype)
        digest.update(struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape))
        digest.update(bytes.fromhex(tensor.sha256))
    return digest.hexdigest()
