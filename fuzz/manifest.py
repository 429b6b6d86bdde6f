"""A fuzz target: the manifest of a base."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.checkpoint.tensor_info import Fingerprint
from dsvd_registry.reconstruction.base_weights import Manifest


def seeds() -> Iterator[bytes]:
    tensors = (("a", "F32", (2, 3)), ("b", "F4", (4,)), ("c", "BF16", ()))
    yield Manifest(tuple(Fingerprint(*tensor, "0" * 64) for tensor in tensors)).to_bytes()


def read(data: bytes, folder: Path) -> None:
    manifest = Manifest.from_bytes(data, "the manifest")
    assert manifest.to_bytes() == data, "a manifest has two spellings"
    assert len(manifest.digest) == 64
