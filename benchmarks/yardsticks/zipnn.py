"""ZipNN (the package `zipnn`, extra `bench`): bytes of floats in groups, each by Huffman codes.

Its chunks are of the size that takes the fewest bytes for such weights (its default of 256 KiB takes
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
    """What is not of `DTYPES` it does not take: that goes to zstd."""

    name = "ZipNN"

    def __init__(self) -> None:
        from zipnn import ZipNN as Packer  # here: a harness without it has its other figures

        self._packer = Packer

    def pack(self, piece: Piece) -> list[bytes]:
        if piece.dtype not in DTYPES:
            return ZSTD.pack(piece)
        # A copy: it turns bits in what it is given.
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
