"""Files that were written, read back: by rules of the test's own, and by the format's own library."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import torch
from safetensors import safe_open

# Bits of an element (safetensors/src/tensor.rs).
BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16, "U8": 8}
BITS |= {"I8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8}


def check_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """A whole safetensors file: its header says each byte of it, once. Gives its tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    document = json.loads(data[8 : 8 + length])
    document.pop("__metadata__", None)
    end = 0
    for begin, after, name in sorted((*e["data_offsets"], n) for n, e in document.items()):
        entry = document[name]
        assert begin == end, f"{name} begins at {begin}, where the one before ends at {end}"
        assert 8 * (after - begin) == BITS[entry["dtype"]] * math.prod(entry["shape"]), name
        end = after
    assert len(data) == 8 + length + end
    with safe_open(path, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert found.keys() == document.keys()
    assert all(list(found[name].shape) == document[name]["shape"] for name in found)
    return found
