"""Bytes of a known SHA-256, read in parts of which each is checked, though all are hashed only once.

The first time, all bytes are read and their SHA-256 is compared; an XXH3 of each chunk is kept. What is
read later is compared with these, after it was copied to memory that nobody else changes. The seed
of the XXH3 is random and known to this process alone: who changes a file cannot forge them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from ..checkpoint.checkpoint import Copier, Memory
from ..checkpoint.tensor_info import tensor_bytes
from ..codec.weights import scratch
from ..container.records import BaseTensor
from ..errors import DsvdError
from .base_weights import BaseWeights
from .shared_cache import SharedCache

CHUNK = 1 << 18
_SEED = secrets.randbits(64)

_Sums = npt.NDArray[np.uint64]
_sums: SharedCache[tuple[str, int], _Sums] = SharedCache(16 << 20, lambda sums: sums.nbytes + 512)
"""The XXH3 of every chunk, by the SHA-256 and the size of all: true of any file with these bytes."""

Mismatch = Callable[[str], DsvdError]
"""The error for bytes that are not those of the SHA-256, given the SHA-256 that they have."""


def checked_copier(copy: Copier, size: int, sha256: str, mismatch: Mismatch) -> Copier:
    """A function that copies parts of `size` bytes, as `copy` does, and checks them.

    All of them are read here, unless this process has read bytes of this SHA-256 before. Raises
    `mismatch` here or as a part is copied. Several threads may use the function.
    """
    sums = _sums.value((sha256, size), lambda: _proven(copy, size, sha256, mismatch))

    def checked(first: int, memory: Memory) -> None:
        while len(memory):
            number, skipped = divmod(first, CHUNK)
            whole = min(CHUNK, size - number * CHUNK)
            count = min(whole - skipped, len(memory))
            part = memory[:count]
            chunk = part if count == whole else scratch.memory("chunk", whole)
            copy(number * CHUNK, chunk)
            if xxhash.xxh3_64_intdigest(chunk.data, _SEED) != sums[number]:
                raise mismatch(_digest_and_sums(copy, size)[0])
            if chunk is not part:
                part[:] = chunk[skipped : skipped + count]
            memory, first = memory[count:], first + count

    return checked


def _proven(copy: Copier, size: int, sha256: str, mismatch: Mismatch) -> _Sums:
    found, sums = _digest_and_sums(copy, size)
    if found != sha256:
        raise mismatch(found)
    return sums


def _digest_and_sums(copy: Copier, size: int) -> tuple[str, _Sums]:
    digest = hashlib.sha256()
    sums = np.empty(-(-size // CHUNK), np.uint64)
    for number in range(len(sums)):
        chunk = scratch.memory("chunk", min(CHUNK, size - number * CHUNK))
        copy(number * CHUNK, chunk)
        digest.update(chunk.data)
        sums[number] = xxhash.xxh3_64_intdigest(chunk.data, _SEED)
    return digest.hexdigest(), sums


class CheckedBase:
    """A base for readers of parts: every byte is checked whenever it is read.

    A base whose file is changed while it is open gives `BaseMismatch`, never a wrong byte.
    """

    def __init__(self, weights: BaseWeights) -> None:
        self._weights = weights

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        self._weights.check_suits(wanted, digest)

    def read(self, tensor: BaseTensor) -> memoryview:
        memory = np.empty(tensor_bytes(tensor.dtype, tensor.shape), np.uint8)
        self.copier(tensor)(0, memory)
        return memory.data

    def copier(self, tensor: BaseTensor) -> Copier:
        copy = self._weights.copier_unproven(tensor)
        if copy is None:
            raise self._weights.damaged(tensor, "nothing")
        checked = checked_copier(
            copy,
            tensor_bytes(tensor.dtype, tensor.shape),
            tensor.sha256,
            lambda found: self._weights.damaged(tensor, found),
        )
        self.release(tensor)
        return checked

    def release(self, tensor: BaseTensor) -> None:
        self._weights.release(tensor)

    def kept_file(self, sha256: str) -> Path | None:
        return self._weights.kept_file(sha256)
