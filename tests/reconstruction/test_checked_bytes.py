"""Bytes are proven by their SHA-256 once, and every later change of them is seen."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dsvd_registry.checkpoint.checkpoint import Memory
from dsvd_registry.errors import BaseMismatch
from dsvd_registry.reconstruction.checked_bytes import CHUNK, check_bytes, checked_copier

SIZE = 2 * CHUNK + 1000
PLACES = (0, CHUNK - 1, CHUNK, SIZE - 1)


def numbers(seed: int) -> Memory:
    return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)


def digest_of(data: Memory) -> str:
    return hashlib.sha256(data.data).hexdigest()


def test_a_change_after_the_bytes_were_proven() -> None:
    data = numbers(1)
    known, right = digest_of(data), data.copy()

    def copy(first: int, memory: Memory) -> None:
        memory[:] = data[first : first + len(memory)]

    check_bytes(data.data, known, BaseMismatch)
    copier = checked_copier(copy, SIZE, known, BaseMismatch)
    for place in PLACES:
        data[place] ^= 1
        with pytest.raises(BaseMismatch, match=digest_of(data)):
            check_bytes(data.data, known, BaseMismatch)
        with pytest.raises(BaseMismatch, match=digest_of(data)):
            copier(place, np.empty(1, np.uint8))
        data[place] ^= 1
        check_bytes(data.data, known, BaseMismatch)
    for first, end in ((0, SIZE), (CHUNK - 3, CHUNK + 5), (7, SIZE - 7), (SIZE - 1, SIZE)):
        memory = np.empty(end - first, np.uint8)
        copier(first, memory)
        assert np.array_equal(memory, right[first:end])


def test_bytes_that_were_never_right() -> None:
    data, wanted = numbers(2), digest_of(numbers(3))
    for _ in range(2):
        with pytest.raises(BaseMismatch, match=digest_of(data)):
            check_bytes(data.data, wanted, BaseMismatch)
    check_bytes(numbers(3).data, wanted, BaseMismatch)
