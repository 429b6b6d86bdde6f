"""Lossless methods without low rank, each implemented plainly, with zstd at level 3.

All take the weights as a row of pieces in the order of the file. Small tensors share a piece, which
costs these methods less than one zstd frame each. Names and shapes count nothing. Every piece is
decoded again and compared, because a size means nothing if the bytes do not come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import zstandard

from dsvd_registry.threads import in_order, threads

from ..harness.checks import Disagreement
from ..subjects.pair import OpenPair

LEVEL = 3
THREADS = 2
PIECE = 1 << 24  # bytes
Bytes = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.unsignedinteger[Any]]
Way = Callable[[Bits, Bits, bool], Bits]  # the flag: these are the bits of floats


@dataclass(frozen=True)
class Piece:
    """A run of elements of `dtype`, as bytes of the fine-tune and of the base."""

    dtype: torch.dtype
    tuned: Bytes
    base: Bytes


class Method(Protocol):
    """A lossless method. `unpack` gets the packed bytes and the base's bytes."""

    @property
    def name(self) -> str: ...
    def pack(self, piece: Piece) -> list[bytes]: ...
    def unpack(self, packed: list[bytes], base: Bytes, dtype: torch.dtype) -> Bytes: ...


@dataclass(frozen=True)
class OverBase:
    """A method that merges the integers of both sides into one row, and back.

    `planes`: store all first bytes, then all second ones, and so on.
    """

    name: str
    forward: Way
    backward: Way
    planes: bool

    def pack(self, piece: Piece) -> list[bytes]:
        of, is_float = _unsigned(piece.dtype.itemsize), piece.dtype.is_floating_point
        made = self.forward(piece.tuned.view(of), piece.base.view(of), is_float).view(np.uint8)
        rows = made.reshape(-1, of.itemsize).T if self.planes else made[None]
        return [compressed(row.tobytes()) for row in rows]

    def unpack(self, packed: list[bytes], base: Bytes, dtype: torch.dtype) -> Bytes:
        of = _unsigned(dtype.itemsize)
        rows = np.stack([np.frombuffer(decompressed(row), np.uint8) for row in packed])
        made = np.ascontiguousarray(rows.T).reshape(-1)
        return self.backward(made.view(of), base.view(of), dtype.is_floating_point).view(np.uint8)


def sizes(pair: OpenPair, methods: Sequence[Method]) -> dict[str, int]:
    """The bytes that each method needs for all weights, by its name, without sampling.

    Raises `Disagreement` if a method does not return the same bytes.
    """

    def work(piece: Piece) -> list[int]:
        return [_checked_size(piece, method) for method in methods]

    total = np.zeros(len(methods), np.int64)
    with threads(THREADS) as pool:
        at_once = THREADS * PIECE
        for found in in_order(pool, work, pieces(pair), lambda p: len(p.tuned), at_once):
            total += found
    return dict(zip((method.name for method in methods), total.tolist(), strict=True))


def pieces(pair: OpenPair) -> Iterator[Piece]:
    """The weights in the order of the file, the base's in the fine-tune's dtype."""
    for dtype, names in itertools.groupby(pair.kinds, key=lambda name: pair.kinds[name][0]):
        collected: list[tuple[Bytes, Bytes]] = []
        room = PIECE
        for name in names:
            tuned, base = _bytes(pair.tuned(name)), _bytes(pair.base(name).to(dtype))
            while len(tuned):
                collected.append((tuned[:room], base[:room]))
                tuned, base = tuned[room:], base[room:]
                room -= len(collected[-1][0])
                if not room:
                    yield _joined(dtype, collected)
                    collected, room = [], PIECE
        if collected:
            yield _joined(dtype, collected)


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def decompressed(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def _checked_size(piece: Piece, method: Method) -> int:
    packed = method.pack(piece)
    if not np.array_equal(method.unpack(packed, piece.base, piece.dtype), piece.tuned):
        raise Disagreement(f"{method.name} does not return the same bytes")
    return sum(map(len, packed))


def _joined(dtype: torch.dtype, parts: Sequence[tuple[Bytes, Bytes]]) -> Piece:
    tuned, base = (np.concatenate(side) for side in zip(*parts, strict=True))
    return Piece(dtype, tuned, base)


def _bytes(tensor: torch.Tensor) -> Bytes:
    data: Bytes = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return data


def _unsigned(width: int) -> np.dtype[np.unsignedinteger[Any]]:
    return np.dtype(f"u{width}")


def _itself(bits: Bits, _base: Bits, _is_float: bool) -> Bits:
    return bits


def _xor(one: Bits, base: Bits, _is_float: bool) -> Bits:
    return one ^ base


def _difference(tuned: Bits, base: Bits, is_float: bool) -> Bits:
    """The difference of the ordered integers, in zigzag form."""
    off = _ordered(tuned, is_float) - _ordered(base, is_float)
    signs = _all_where_highest(off)
    off <<= 1
    off ^= signs
    return off


def _sum(off: Bits, base: Bits, is_float: bool) -> Bits:
    """The inverse of `_difference`."""
    values: Bits = ((off >> 1) ^ np.negative(off & 1)) + _ordered(base, is_float)
    if not is_float:
        return values
    is_positive = values >= _highest(values)
    return np.where(is_positive, values ^ _highest(values), ~values)


def _ordered(bits: Bits, is_float: bool) -> Bits:
    """Integers in the order of the values: flip all bits of a negative float, else the sign bit."""
    return bits ^ (_all_where_highest(bits) | _highest(bits)) if is_float else bits


def _all_where_highest(bits: Bits) -> Bits:
    signed: npt.NDArray[np.signedinteger[Any]] = bits.view(np.dtype(f"i{bits.itemsize}"))
    signed = signed >> (8 * bits.itemsize - 1)
    return signed.view(_unsigned(bits.itemsize))


def _highest(bits: Bits) -> np.unsignedinteger[Any]:
    return bits.dtype.type(1 << (8 * bits.itemsize - 1))


ZSTD = OverBase("zstd -3", _itself, _itself, planes=False)
METHODS = (
    ZSTD,
    OverBase("XOR with the base, zstd -3 (the BitX way)", _xor, _xor, planes=False),
    OverBase("XOR, byte planes, zstd -3", _xor, _xor, planes=True),
    OverBase(
        "difference of ordered integers, byte planes, zstd -3 (the FM-Delta way)",
        _difference,
        _sum,
        planes=True,
    ),
)
