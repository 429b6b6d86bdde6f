"""Bytes of a known SHA-256, checked whenever they are read, though all are hashed only once.

The first time, all bytes are read and their SHA-256 is compared; an XXH3 of each chunk is kept. What is
read later is compared with these. The seed of the XXH3 is random and known to this process alone: who
changes a file cannot forge them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import xxhash

from ..checkpoint.checkpoint import Copier, Memory
from ..codec.weights import scratch
from ..errors import DsvdError
from .shared_cache import SharedCache

CHUNK = 1 << 18
_SEED = secrets.randbits(64)

_Sums = npt.NDArray[np.uint64]
_sums: SharedCache[tuple[str, int], _Sums] = SharedCache(16 << 20, lambda sums: sums.nbytes + 512)
"""The XXH3 of every chunk, by the SHA-256 and the size of all: true of any file with these bytes."""

Mismatch = Callable[[str], DsvdError]
"""The error for bytes that are not those of the SHA-256, given the SHA-256 that they have."""


def check_bytes(data: memoryview, sha256: str, mismatch: Mismatch) -> None:
    """Check all bytes: by SHA-256, or by XXH3 if this process has read bytes of this SHA-256 before.

    Raises `mismatch`.
    """
    first: list[bool] = []

    def prove() -> _Sums:
        first.append(True)
        return _proven(_chunks_of(data), sha256, mismatch)

    sums = _sums.value((sha256, len(data)), prove)
    if not first and any(
        _sum(chunk) != known for chunk, known in zip(_chunks_of(data), sums, strict=True)
    ):
        raise mismatch(_digest_and_sums(_chunks_of(data))[0])


def checked_copier(copy: Copier, size: int, sha256: str, mismatch: Mismatch) -> Copier:
    """A function that copies parts of `size` bytes, as `copy` does, and checks what it has copied.

    All of them are read here, unless this process has read bytes of this SHA-256 before. Raises
    `mismatch` here or as a part is copied. Several threads may use the function.
    """
    sums = _sums.value(
        (sha256, size), lambda: _proven(_copied_chunks(copy, size), sha256, mismatch)
    )

    def checked(first: int, memory: Memory) -> None:
        while len(memory):
            number, skipped = divmod(first, CHUNK)
            whole = min(CHUNK, size - number * CHUNK)
            count = min(whole - skipped, len(memory))
            part = memory[:count]
            chunk = part if count == whole else scratch.memory("chunk", whole)
            copy(number * CHUNK, chunk)
            if _sum(chunk.data) != sums[number]:
                raise mismatch(_digest_and_sums(_copied_chunks(copy, size))[0])
            if chunk is not part:
                part[:] = chunk[skipped : skipped + count]
            memory, first = memory[count:], first + count

    return checked


def _proven(chunks: Iterator[memoryview], sha256: str, mismatch: Mismatch) -> _Sums:
    found, sums = _digest_and_sums(chunks)
    if found != sha256:
        raise mismatch(found)
    return sums


def _digest_and_sums(chunks: Iterator[memoryview]) -> tuple[str, _Sums]:
    digest, sums = hashlib.sha256(), []
    for chunk in chunks:
        digest.update(chunk)
        sums.append(_sum(chunk))
    return digest.hexdigest(), np.array(sums, np.uint64)


def _sum(chunk: memoryview) -> int:
    return xxhash.xxh3_64_intdigest(chunk, _SEED)


def _chunks_of(data: memoryview) -> Iterator[memoryview]:
    return (data[first : first + CHUNK] for first in range(0, len(data), CHUNK))


def _copied_chunks(copy: Copier, size: int) -> Iterator[memoryview]:
    """All chunks, each valid until the next one."""
    for first in range(0, size, CHUNK):
        chunk = scratch.memory("chunk", min(CHUNK, size - first))
        copy(first, chunk)
        yield chunk.data
