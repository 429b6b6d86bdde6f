"""Memory that a thread's steps use again: fresh memory costs a page fault for every 4 KiB."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

HELD_BYTES = 16 << 20  # of one use; what is larger is not kept

Memory = npt.NDArray[np.uint8]


class Scratch(threading.local):
    """Arrays without content, one for each use and thread, until that use's next one."""

    def __init__(self) -> None:
        self._held: dict[str, Memory] = {}

    def array(self, use: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An uninitialised array. The one that the same thread got for this use before is gone."""
        kind = np.dtype(dtype)
        return self.memory(use, math.prod(shape) * kind.itemsize).view(kind).reshape(shape)

    def memory(self, use: str, nbytes: int) -> Memory:
        """As `array`, but bytes."""
        if nbytes > HELD_BYTES:
            return np.empty(nbytes, np.uint8)
        held = self._held.get(use)
        if held is None or held.nbytes < nbytes:
            held = self._held[use] = np.empty(nbytes, np.uint8)
        return held[:nbytes]


scratch = Scratch()
