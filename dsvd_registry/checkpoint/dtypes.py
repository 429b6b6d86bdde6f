"""The dtypes of a checkpoint's tensors, and the bits that an element of each takes.

The names are those of safetensors 0.8 (safetensors/src/tensor.rs, `Dtype`). torch has some that
safetensors lacks (complex128, quantised types). They have no name here, and a tensor of such a dtype
is left out of the checkpoint with that reason.
"""

from __future__ import annotations

import math
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
"""Bits per element."""


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
