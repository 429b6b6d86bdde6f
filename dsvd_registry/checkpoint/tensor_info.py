"""The identity of a tensor: its name, dtype, shape and SHA-256; the weights digest of many."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import CheckpointError

DELTA_DTYPES = ("F32", "F16", "BF16")
"""The dtypes of tensors that can have a delta."""

BITS = MappingProxyType(
    {
        "F64": 64,
        "I64": 64,
        "U64": 64,
        "C64": 64,
        "F32": 32,
        "I32": 32,
        "U32": 32,
        "F16": 16,
        "BF16": 16,
        "I16": 16,
        "U16": 16,
        "F8_E4M3": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2": 8,
        "F8_E5M2FNUZ": 8,
        "F8_E8M0": 8,
        "I8": 8,
        "U8": 8,
        "BOOL": 8,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "F4": 4,
    }
)
"""Bits per element of each dtype, under its name in safetensors 0.8 (its `Dtype` in tensor.rs).

torch has dtypes that safetensors lacks (complex128, quantised types). They have no name here, and a
tensor of such a dtype is left out of the checkpoint with that reason.
"""

DTYPES = tuple(BITS)
"""The dtypes in the order of their codes in a container (spec, "Records")."""


def tensor_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """The number of bytes that a tensor takes.

    Raises:
        CheckpointError: for an unknown dtype, and for a tensor of 4 or 6 bits per element whose
            last byte is not full.
    """
    if dtype not in BITS:
        raise CheckpointError(f"dtype {dtype!r} is unknown")
    size, rest = divmod(BITS[dtype] * math.prod(shape), 8)
    if rest:
        raise CheckpointError(f"{dtype} of shape {list(shape)} is not a whole number of bytes")
    return size


WEIGHTS_DOMAIN = b"dsvd weights v1\n"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name, safetensors dtype (a key of `BITS`) and shape."""

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
