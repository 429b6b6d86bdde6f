"""`zstd -9` of the fine-tune's weights, and of their XOR with the base's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import zstandard

from ..subjects.pair import OpenPair

LEVEL = 9
SAMPLE_BYTES = 256 << 20  # beyond this a sample of every tensor is compressed
CHUNK = 1 << 22
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Size:
    """A compressed size in bytes. `share`: of the data that was compressed; the rest is extrapolated."""

    stored: int
    share: float


def size_of_file(path: Path) -> int:
    """The compressed size of a whole file."""
    with path.open("rb") as file:
        return _compressed(iter(lambda: file.read(CHUNK), b""))


def size_of_tuned(pair: OpenPair, limit: int = SAMPLE_BYTES) -> Size:
    return _sampled(pair, limit, lambda name, end: _bytes(pair.tuned(name))[:end])


def size_of_xor(pair: OpenPair, limit: int = SAMPLE_BYTES) -> Size:
    """The compressed size of the XOR with the base, rounded to the fine-tune's dtype."""

    def xor(name: str, end: int) -> Bytes:
        tuned = pair.tuned(name)
        return _bytes(tuned)[:end] ^ _bytes(pair.base(name).to(tuned.dtype))[:end]

    return _sampled(pair, limit, xor)


def _sampled(pair: OpenPair, limit: int, data: Callable[[str, int], Bytes]) -> Size:
    """The compressed size of all tensors, from the first bytes of each, near `limit` in all.

    `data`: the first bytes of a tensor, by its name and their end.
    """
    sizes = {
        name: torch.Size(shape).numel() * dtype.itemsize
        for name, (dtype, shape) in pair.kinds.items()
    }
    total = sum(sizes.values())
    ends = {name: -(-size * min(limit, total) // total) for name, size in sizes.items()}
    stored = _compressed(data(name, end).tobytes() for name, end in ends.items())
    share = sum(ends.values()) / total
    return Size(round(stored / share), share)


def _compressed(chunks: Iterable[bytes]) -> int:
    compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    stored = sum(len(compressor.compress(chunk)) for chunk in chunks)
    return stored + len(compressor.flush())


def _bytes(tensor: torch.Tensor) -> Bytes:
    data: Bytes = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return data
