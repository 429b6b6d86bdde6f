"""Kernels compiled with numba (extra `fast`), for floats: three to four times as fast as numpy's.

Compiling takes two to three seconds, so numba keeps the machine code where Python keeps that of this
package, in `__pycache__`, or in the user's cache folder (or in NUMBA_CACHE_DIR): who can write there
can change the package itself. Where nothing can be written, each process compiles anew.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..codec.weights import Weights, scratch
from . import loops
from .digits import Digits
from .kernels import Kernels, Order
from .numpy_kernels import NUMPY
from .ordered import FORMATS, Bits, FloatFormat
from .predicted import Predicted, predicted_floats

Loop = Callable[..., None]

_compiling = threading.Lock()
_NO_BORDERS = np.empty(0, np.bool_)
ROUNDINGS = {"F16": loops.round_f16, "BF16": loops.round_bf16}


LEAST_ELEMENTS = 1 << 26
"""Fewer elements do not pay for the import of numba, which takes half a second."""


def kernels_for(dtype: str, elements: int) -> Kernels:
    """The fastest kernels for so many elements of `dtype`; numpy's without numba."""
    if dtype in FORMATS and (elements >= LEAST_ELEMENTS or dtype in _made):
        with contextlib.suppress(ImportError):
            return compiled_kernels(dtype)
    return NUMPY


def compiled_kernels(dtype: str) -> CompiledKernels:
    """The kernels for floats of one dtype, compiled at the first call.

    Raises `ImportError` without a numba that suits the installed numpy.
    """
    with _compiling:
        if dtype not in _made:
            _made[dtype] = CompiledKernels(_compiled_loops(dtype))
        return _made[dtype]


@dataclass(frozen=True)
class Loops:
    """The functions of loops.py for one dtype. `round`: None where nothing is rounded."""

    count: Loop
    restore: Loop
    sort: Loop
    join: Loop
    split: Loop
    round: Loop | None


class CompiledKernels:
    """Kernels for floats of one dtype, made of its `loops`; see `Kernels`."""

    def __init__(self, loops: Loops) -> None:
        self._loops = loops

    def rounded(self, unrounded: Weights, of: FloatFormat) -> Predicted:
        words = unrounded.words.view(np.uint32)
        if self._loops.round is None:
            return predicted_floats(words, words, of)
        bits = scratch.array("rounded", words.shape, of.unsigned)
        up = scratch.array("up", words.shape, np.bool_)
        classes = scratch.array("classes", words.shape, np.uint16)
        self._loops.round(words, bits, up, classes)
        return Predicted(of, bits, up, classes)

    def order(self, predicted: Predicted, lasts: Sequence[int]) -> Order:
        return _Order(self._loops, predicted, lasts)

    def join(self, out: Bits, digits: Digits, low: Digits, shift: int) -> None:
        self._loops.join(out, digits, low, shift)

    def split(self, values: Bits, shift: int, base: int, digits: Digits, low: Digits) -> None:
        self._loops.split(values, shift, base, digits, low)


class _Order:
    def __init__(self, of_dtype: Loops, predicted: Predicted, lasts: Sequence[int]) -> None:
        self._loops, self._predicted = of_dtype, predicted
        self._up = _NO_BORDERS if predicted.up is None else predicted.up
        self._group_of = scratch.array("group of", (len(predicted),), np.uint8)
        self._counts = np.zeros(len(lasts), np.uint64)
        classes = np.arange(predicted.of.last_class + 1)
        group_of_class = np.searchsorted(np.array(lasts), classes).astype(np.uint8)
        self._loops.count(predicted.classes, group_of_class, self._group_of, self._counts)

    @property
    def counts(self) -> list[int]:
        found: list[int] = self._counts.tolist()
        return found

    def differences(self, source: Bits) -> Bits:
        bits = self._predicted.bits
        ordered = scratch.array("ordered", bits.shape, bits.dtype)
        self._loops.sort(source, self._group_of, self._firsts(), bits, self._up, ordered)
        return ordered

    def restore(self, ordered: Bits, out: Bits) -> None:
        bits = self._predicted.bits
        self._loops.restore(ordered, self._group_of, self._firsts(), bits, self._up, out)

    def _firsts(self) -> Any:
        """The first element of each group, uint64."""
        return np.cumsum(self._counts) - self._counts


def _compiled_loops(dtype: str) -> Loops:
    word = FORMATS[dtype].unsigned.str[1:]
    moves = f"{word} given", "u1 given", "u8", f"{word} given", "b1 given", word
    rounding = ROUNDINGS.get(dtype)
    return Loops(
        count=_compiled(loops.count, "u2 given", "u1 given", "u1", "u8"),
        restore=_compiled(loops.restore, *moves),
        sort=_compiled(loops.sort, *moves),
        join=_compiled(loops.join, word, "u1 given", "u1 given", "int"),
        split=_compiled(loops.split, f"{word} given", "int", "int", "u1", "u1"),
        round=None if rounding is None else _compiled(rounding, "u4 given", word, "b1", "u2"),
    )


@functools.cache
def _compiled(loop: Loop, *arguments: str) -> Loop:
    """A loop, compiled for arguments of these types, which runs without Python's lock.

    "u1": an array to write to; "u1 given": one that may be read-only.
    """
    import numba

    def kind(argument: str) -> Any:
        if argument == "int":
            return numba.int64
        word, *given = argument.split()
        element = numba.from_dtype(np.dtype(word))
        return numba.types.Array(element, 1, "C", readonly=bool(given))

    signature = numba.void(*map(kind, arguments))
    try:
        compiled: Loop = numba.njit(signature, nogil=True, cache=True)(loop)
    except RuntimeError:  # no folder to keep machine code in
        compiled = numba.njit(signature, nogil=True)(loop)
    return compiled


_made: dict[str, CompiledKernels] = {}
