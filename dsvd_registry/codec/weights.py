"""Weights of F32, F16 and BF16 in numpy, widened to float32 and rounded back.

numpy has no bfloat16 and casts float16 one number at a time. The functions here work on the bits of
many numbers at once, in blocks that stay in the cache through all steps, in scratch memory that each
thread reuses.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

HELD_BYTES = 16 << 20  # of one use; larger arrays are not kept

Memory = npt.NDArray[np.uint8]


class Scratch(threading.local):
    """Uninitialised arrays, one for each thread and use, valid until the next one for that use.

    Fresh memory costs a page fault for every 4 KiB; this is reused.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Memory] = {}

    def array(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An uninitialised array; it overwrites the thread's previous array for this use."""
        kind = np.dtype(dtype)
        return self.memory(use, math.prod(shape) * kind.itemsize).view(kind).reshape(shape)

    def memory(self, use: str, nbytes: int) -> Memory:
        """Uninitialised bytes, under the same rule as `array`."""
        if nbytes > HELD_BYTES:
            return np.empty(nbytes, np.uint8)
        memory = self._kept.get(use)
        if memory is None or memory.nbytes < nbytes:
            memory = self._kept[use] = np.empty(nbytes, np.uint8)
        return memory[:nbytes]


scratch = Scratch()

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Words = npt.NDArray[Any]

WORDS: dict[str, type[np.float32] | type[np.uint16]] = {
    "F32": np.float32,
    "F16": np.uint16,
    "BF16": np.uint16,
}
"""The numpy type of each dtype: float32 itself, uint16 for the bits of a half-precision number."""

BLOCK = 1 << 17  # numbers that are processed together

# Bits of +infinity, and of -infinity as an unsigned number: above either are only NaNs.
_INFINITIES = {"F32": (0x7F800000, 0xFF800000), "F16": (0x7C00, 0xFC00), "BF16": (0x7F80, 0xFF80)}
_SIGNED, _UNSIGNED = {2: np.int16, 4: np.int32}, {2: np.uint16, 4: np.uint32}

_TOO_LARGE_FOR_F16 = 0x477FF000  # the bits of 65520, halfway between the largest float16 and 2^16
# The exponent of 2^-14, the least normal float16, as in float32, shifted to leave room for a float16's
# mantissa. The array below has many copies of it, as numpy's maximum with a scalar is slow.
_LEAST_EXPONENT = 113 << 10
_LEAST_EXPONENTS = np.full(BLOCK, _LEAST_EXPONENT, np.int32)


@dataclass(frozen=True)
class Weights:
    """An array of any shape of F32 (as float32), or of F16 or BF16 (as uint16 of their bits)."""

    words: Words
    dtype: str

    @staticmethod
    def over(memory: Memory, shape: tuple[int, ...], dtype: str) -> Weights:
        """The weights whose little-endian bytes are `memory`, which is not copied."""
        return Weights(memory.view(WORDS[dtype]).reshape(shape), dtype)

    def rows(self, first: int, end: int) -> Weights:
        """Rows first..end-1, sharing the memory of all."""
        return Weights(self.words[first:end], self.dtype)

    def widened(self) -> Float32:
        """All weights as float32, exactly; in new memory, unless they are float32 already."""
        if self.dtype == "F32":
            return self.words
        wide = np.empty(self.words.shape, np.float32)
        for words, out in blocks(self.words, wide):
            widen(words, self.dtype, out)
        return wide

    def is_finite(self) -> bool:
        """True if no number is NaN or infinite."""
        positive, negative = self._highest()
        infinity, minus_infinity = _INFINITIES[self.dtype]
        return positive < infinity and negative < minus_infinity

    def has_nan(self) -> bool:
        """True if a number is NaN."""
        positive, negative = self._highest()
        infinity, minus_infinity = _INFINITIES[self.dtype]
        return positive > infinity or negative > minus_infinity

    def infinities(self) -> int:
        """The number of those that are infinite, of either sign."""
        bits = self.words.view(_UNSIGNED[self.words.itemsize])
        positive, negative = _INFINITIES[self.dtype]
        return int(np.count_nonzero(bits == positive)) + int(np.count_nonzero(bits == negative))

    def _highest(self) -> tuple[int, int]:
        """The largest bit patterns, read as signed and as unsigned integers, each at least 0.

        They belong to the largest number and, if there is a negative one, to the lowest number.
        """
        words, width = self.words, self.words.itemsize
        signed = words.view(_SIGNED[width]).max(initial=0)
        return int(signed), int(words.view(_UNSIGNED[width]).max(initial=0))


def blocks(*arrays: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Matching flat blocks of C-contiguous arrays of one size."""
    flat = [array.reshape(-1) for array in arrays]
    for first in range(0, flat[0].size, BLOCK):
        yield tuple(array[first : first + BLOCK] for array in flat)


def widen(words: Words, dtype: str, out: Float32) -> None:
    """Write a block of numbers of `dtype` to `out` as float32, exactly."""
    match dtype:
        case "F32":
            np.copyto(out, words)
        case "BF16":
            bits = out.view(np.uint32)
            np.copyto(bits, words)
            np.left_shift(bits, 16, out=bits)
        case "F16":
            _widen_f16(words, out)
        case _:
            raise KeyError(dtype)


def round_block(values: Floats, dtype: str, out: Words) -> None:
    """Write RN_T(RN_f32(x)) of a block of numbers to `out`, where T is `dtype`.

    Source: spec/dsvd-container-v1.md, section "Reconstruction".
    """
    match dtype:
        case "F32":
            np.copyto(out, values, casting="same_kind")
        case "BF16":
            _round_bf16(_single(values), out)
        case "F16":
            _round_f16(_single(values), out)
        case _:
            raise KeyError(dtype)


def _single(values: Floats) -> Float32:
    if values.dtype == np.float32:
        return cast(Float32, values)
    single = _scratch("single", np.float32, values.size)
    np.copyto(single, values, casting="same_kind")
    return single


def _widen_f16(words: Words, out: Float32) -> None:
    halves = words.view(np.int16)
    infinity, minus_infinity = _INFINITIES["F16"]
    if halves.max() >= infinity or words.max() >= minus_infinity:
        np.copyto(out, words.view(np.float16))
        return
    bits = out.view(np.int32)
    np.copyto(bits, halves)  # sign extension keeps the sign bit in front
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, ~0x70000000, out=bits)  # sign, 5 bits of exponent, 10 of mantissa
    np.multiply(out, np.float32(2.0**112), out=out)  # 127 - 15: where float32's exponents begin


def _round_f16(values: Float32, out: Words) -> None:
    bits = values.view(np.int32)
    size = values.size
    magnitudes = _scratch("magnitudes", np.int32, size)
    anchors = _scratch("anchors", np.int32, size)
    np.bitwise_and(bits, 0x7FFFFFFF, out=magnitudes)
    if magnitudes.max() >= _TOO_LARGE_FOR_F16:
        np.copyto(out, values.astype(np.float16).view(np.uint16))
        return
    # Adding 2^(e + 13) to a float32 near 2^e makes its last bit worth as much as that of a float16,
    # so the addition itself rounds to float16; for subnormal float16, e is that of the least normal
    # number. The lowest bits of the addend are the float16's exponent, so the lowest bits of the sum
    # are the complete float16.
    np.right_shift(magnitudes, 13, out=anchors)
    np.bitwise_and(anchors, 0xFF << 10, out=anchors)
    np.maximum(anchors, _LEAST_EXPONENTS[:size], out=anchors)
    np.multiply(anchors, (1 << 13) + 1, out=anchors)
    np.add(anchors, (13 << 23) - _LEAST_EXPONENT, out=anchors)
    rounded = magnitudes.view(np.float32)
    np.add(rounded, anchors.view(np.float32), out=rounded)
    np.copyto(out, magnitudes, casting="unsafe")
    signs = _scratch("signs", np.uint16, size)
    np.right_shift(bits, 16, out=anchors)
    np.copyto(signs, anchors, casting="unsafe")
    np.bitwise_and(signs, 0x8000, out=signs)
    np.bitwise_or(out, signs, out=out)


def _round_bf16(values: Float32, out: Words) -> None:
    bits = values.view(np.uint32)
    rounded = _scratch("magnitudes", np.uint32, values.size)
    np.right_shift(bits, 16, out=rounded)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, bits, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)  # together with the last bit kept: ties go to even
    np.right_shift(rounded, 16, out=rounded)
    np.copyto(out, rounded, casting="unsafe")
    nans = np.isnan(values)
    if nans.any():
        out[nans] = (bits[nans] >> 16) | 0x40  # a quiet NaN, whatever mantissa bits are cut off


def _scratch(use: str, dtype: npt.DTypeLike, size: int) -> npt.NDArray[Any]:
    return scratch.array(use, (size,), dtype)
