"""ZipNN (the package `zipnn`, extra `bench`): grouped bytes of floats in Huffman codes.

The chunk size is the one that needs the fewest bytes for such weights (the default of 256 KiB needs
up to 0.3 % more).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .lossless import THREADS, ZSTD, Bytes, Piece

CHUNK = 64 << 10
DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


class ZipNN:
    """The method of ZipNN; zstd for dtypes that it does not take."""

    name = "ZipNN"

    def __init__(self) -> None:
        from zipnn import ZipNN as Packer  # imported here, so that other figures run without it

        self._packer = Packer

    def pack(self, piece: Piece) -> list[bytes]:
        if piece.dtype not in DTYPES:
            return ZSTD.pack(piece)
        # A copy, because it changes its input.
        return [bytes(self._of(piece.dtype).compress(bytearray(piece.tuned)))]

    def unpack(self, packed: list[bytes], base: Bytes, dtype: torch.dtype) -> Bytes:
        if dtype not in DTYPES:
            return ZSTD.unpack(packed, base, dtype)
        return np.frombuffer(self._of(dtype).decompress(packed[0]), np.uint8)

    def _of(self, dtype: torch.dtype) -> Any:
        return self._packer(
            input_format="byte",
            bytearray_dtype=DTYPES[dtype],
            threads=THREADS,
            compression_chunk=CHUNK,
        )
