"""A manifest is what spec/dsvd-store-v2.md says, and nothing beside it."""

from __future__ import annotations

import pytest
from spec.header_bytes import DTYPES as CODES
from spec.header_bytes import code, counted, text, uint

from dsvd_registry.errors import RegistryError
from dsvd_registry.reconstruction.base_weights import Manifest

from .strategies import manifests

DIGEST = bytes(32)


def tensor(name: str | bytes, dtype: str | int, shape: list[int], digest: bytes = DIGEST) -> bytes:
    return text(name) + code(dtype, CODES) + counted(map(uint, shape)) + digest


A, B, C = tensor("a", "F32", [2, 3]), tensor("b", "F4", [4]), tensor("c", "BF16", [])


def manifest(*tensors: bytes) -> bytes:
    return b"DSVDBASE" + counted(tensors)


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "another magic": b"DSVDBASF" + counted([A]),
    "no list": b"DSVDBASE",
    "more behind it": manifest(A) + b"\0",
    "fewer than it says": b"DSVDBASE" + uint(2) + A,
    "more than there may be": b"DSVDBASE" + uint(2**20 + 1) + A,
    "cut": manifest(A)[:-1],
    "a name twice": manifest(A, B, A),
    "empty name": manifest(tensor("", "F32", [2])),
    "NUL in a name": manifest(tensor("a\0", "F32", [2])),
    "long name": manifest(tensor("a" * 4097, "F32", [2])),
    "name that is no text": manifest(tensor(b"\xff", "F32", [2])),
    "half a surrogate pair": manifest(tensor("\ud800", "F32", [2])),
    "unknown dtype": manifest(tensor("a", 22, [2])),
    "part of a byte": manifest(tensor("a", "F4", [3])),
    "shape of 2^53": manifest(tensor("a", "F32", [2**53])),
    "needless byte": manifest(text("a") + b"\4\1\x82\0" + DIGEST),
    "too many dimensions": manifest(tensor("a", "F32", [1] * 33)),
    "short digest": manifest(tensor("a", "F32", [2], bytes(31))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_manifest(name: str) -> None:
    good = manifest(A, B, C)
    assert Manifest.from_bytes(good, "x").to_bytes() == good == manifests()[0]
    with pytest.raises(RegistryError, match="is not the manifest of a base"):
        Manifest.from_bytes(BROKEN[name], "x")
