"""A fuzz target: a safetensors file."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.checkpoint import open_checkpoint

from . import VALID


def seeds() -> Iterator[bytes]:
    for path in sorted(VALID.glob("*.safetensors")):
        yield path.read_bytes()
    entries = {
        "__metadata__": {"k": "v"},
        "a": {"dtype": "F4", "shape": [2, 2], "data_offsets": [0, 2]},
        "b": {"dtype": "F64", "shape": [], "data_offsets": [2, 10]},
        "c": {"dtype": "U8", "shape": [0, 9], "data_offsets": [10, 10]},
    }
    text = json.dumps(entries).encode()
    yield struct.pack("<Q", len(text)) + text + bytes(10)


def read(data: bytes, folder: Path) -> None:
    path = folder / "hostile.ckpt"
    path.write_bytes(data)
    with open_checkpoint(path) as checkpoint:
        for name, info in checkpoint.tensors.items():
            assert len(checkpoint.read(name)) == info.nbytes
            checkpoint.release(name)
