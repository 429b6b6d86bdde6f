"""Scratch memory that each thread reuses: fresh memory costs a page fault for every 4 KiB."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

HELD_BYTES = 16 << 20  # of one use; larger arrays are not kept

Memory = npt.NDArray[np.uint8]


class Scratch(threading.local):
    """Uninitialised arrays, one for each thread and use, valid until the next one for that use."""

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
