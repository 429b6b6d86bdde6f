"""ZipNN (the package `zipnn`, extra `bench`): grouped bytes of floats in Huffman codes.

The chunk size is the one that needs the fewest bytes for such weights (the default of 256 KiB needs
up to 0.3 % more).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .lossless import THREADS, ZSTD, Bytes, Piece

CHUNK = 64 << 10
DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
PART = 1 << 26  # bytes of a file that are packed at a time
LENGTH = 8  # bytes that tell the length of a packed part, before it


class ZipNN:
    """The method of ZipNN; zstd for dtypes that it does not take."""

    name = "ZipNN"

    def __init__(self) -> None:
        _packer("float32")  # a missing package is told before anything is measured

    def pack(self, piece: Piece) -> list[bytes]:
        if piece.dtype not in DTYPES:
            return ZSTD.pack(piece)
        # A copy, because it changes its input.
        return [bytes(_packer(DTYPES[piece.dtype]).compress(bytearray(piece.tuned)))]

    def unpack(self, packed: list[bytes], base: Bytes, dtype: torch.dtype) -> Bytes:
        if dtype not in DTYPES:
            return ZSTD.unpack(packed, base, dtype)
        return np.frombuffer(_packer(DTYPES[dtype]).decompress(packed[0]), np.uint8)


def packed_file(file: Path, folder: Path, dtype: str) -> Path:
    """A file in `folder` with the packed parts of a whole file; `dtype`: such as "float16"."""
    packer, packed = _packer(dtype), folder / "packed.zipnn"
    with file.open("rb") as source, packed.open("xb") as target:
        while part := bytearray(source.read(PART)):
            made = bytes(packer.compress(part))
            target.write(len(made).to_bytes(LENGTH, "little") + made)
    return packed


def unpack_file(packed: Path, output: Path, dtype: str) -> None:
    """Write the file again of which `packed` was made."""
    packer = _packer(dtype)
    with output.open("xb") as target:
        for part in _parts(packed):
            target.write(packer.decompress(part))


def _parts(packed: Path) -> Iterator[bytes]:
    with packed.open("rb") as source:
        while length := source.read(LENGTH):
            yield source.read(int.from_bytes(length, "little"))


def _packer(dtype: str) -> Any:
    from zipnn import ZipNN as Packer  # imported here, so that other figures run without it

    return Packer(
        input_format="byte", bytearray_dtype=dtype, threads=THREADS, compression_chunk=CHUNK
    )
