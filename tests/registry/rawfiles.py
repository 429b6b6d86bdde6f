"""Safetensors files of any bits: also of dtypes that torch lacks, in any order, with any metadata."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsvd_registry.checkpoint.tensor_info import tensor_bytes

UNSIGNED = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}


@dataclass(frozen=True)
class RawTensor:
    """A tensor by its bits."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        assert len(self.data) == tensor_bytes(self.dtype, self.shape)


def of_bits(dtype: str, bits: object, shape: tuple[int, ...] | None = None) -> RawTensor:
    """A tensor of F32, F16 or BF16 from unsigned integers."""
    values = np.array(bits, UNSIGNED[dtype])
    return RawTensor(dtype, values.shape if shape is None else shape, values.tobytes())


def write_raw(
    tensors: Mapping[str, RawTensor], path: Path, metadata: Mapping[str, str] | None = None
) -> Path:
    """Data in the order of `tensors`, the header in that of the names."""
    entries: dict[str, object] = {}
    data = b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + len(tensor.data)]
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": offsets,
        }
        data += tensor.data
    header = dict(sorted(entries.items()))
    if metadata is not None:
        header["__metadata__"] = dict(metadata)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def read_raw(path: Path) -> dict[str, RawTensor]:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        first, end = (8 + length + offset for offset in entry["data_offsets"])
        found[name] = RawTensor(entry["dtype"], tuple(entry["shape"]), data[first:end])
    return found
