"""The identity of a tensor (name, dtype, shape, SHA-256), and the weights digest of many."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from .dtypes import tensor_bytes

WEIGHTS_DOMAIN = b"dsvd weights v1\n"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name, safetensors dtype (`dtypes.BITS`) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """The number of elements: 1 for a scalar, 0 where a dimension is 0."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes. Raises `CheckpointError` as `tensor_bytes` does."""
        return tensor_bytes(self.dtype, self.shape)


@dataclass(frozen=True)
class Fingerprint(TensorInfo):
    """A tensor with its content: `sha256` is that of its little-endian C-order bytes."""

    sha256: str


def weights_digest(tensors: Iterable[Fingerprint]) -> str:
    """The weights digest of a set of tensors, whatever file they are in (spec: "Digest of a base").

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
