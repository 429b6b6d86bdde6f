"""A manifest is what spec/dsvd-store-v2.md says, and nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dsvd_registry import canonical
from dsvd_registry.errors import RegistryError
from dsvd_registry.reconstruction.base_weights import Manifest

from .strategies import manifests

Value = dict[str, Any]


def first(field: str, value: object) -> Callable[[Value], object]:
    return lambda manifest: manifest["tensors"][0].update({field: value})


BROKEN: dict[str, Callable[[Value], object]] = {
    "unknown field": lambda manifest: manifest.update(more=1),
    "no field": lambda manifest: manifest.pop("tensors"),
    "no array": lambda manifest: manifest.update(tensors={}),
    "no object": lambda manifest: manifest["tensors"].append("a"),
    "unknown field of a tensor": first("more", 1),
    "no field of a tensor": lambda manifest: manifest["tensors"][0].pop("shape"),
    "a name twice": lambda manifest: manifest["tensors"].append(manifest["tensors"][0]),
    "empty name": first("name", ""),
    "NUL in a name": first("name", "a\0"),
    "long name": first("name", "a" * 4097),
    "name that is a number": first("name", 7),
    "unknown dtype": first("dtype", "F32x"),
    "dtype that is none": first("dtype", None),
    "part of a byte": lambda manifest: manifest["tensors"][1].update(shape=[3]),
    "shape of texts": first("shape", ["2", "3"]),
    "shape of truths": first("shape", [True, 6]),
    "shape of reals": first("shape", [2.0, 3]),
    "negative shape": first("shape", [-2, -3]),
    "shape of 2^53": first("shape", [2**53]),
    "too many dimensions": first("shape", [1] * 33),
    "short digest": first("sha256", "0" * 63),
    "capital digest": first("sha256", "A" * 64),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_manifest(name: str) -> None:
    """Seen to fail: as it was once read, with `str` and `int` of what stands there, 18 of these
    were taken."""
    value = json.loads(manifests()[0])
    assert Manifest.from_bytes(canonical.encode(value), "x").to_bytes() == manifests()[0]
    BROKEN[name](value)
    with pytest.raises(RegistryError, match="is not the manifest of a base"):
        Manifest.from_bytes(canonical.encode(value), "x")
