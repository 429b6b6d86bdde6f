"""Memory that a thread's steps use again: fresh memory costs a page fault for every 4 KiB."""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt
import torch

HELD_BYTES = 16 << 20  # of one use; what is larger is not kept

Memory = npt.NDArray[np.uint8]


class Scratch(threading.local):
    """CPU tensors without content, one for each use and thread, until that use's next one."""

    def __init__(self) -> None:
        self._held: dict[str, Memory] = {}

    def tensor(self, use: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised tensor. The one that the same thread got for this use before is gone."""
        return as_tensor(self.memory(use, math.prod(shape) * dtype.itemsize), shape, dtype)

    def memory(self, use: str, nbytes: int) -> Memory:
        """As `tensor`, but bytes."""
        if nbytes > HELD_BYTES:
            return np.empty(nbytes, np.uint8)
        held = self._held.get(use)
        if held is None or held.nbytes < nbytes:
            held = self._held[use] = np.empty(nbytes, np.uint8)
        return held[:nbytes]


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised CPU tensor to keep.

    Of numpy's memory, which asks the system for large pages: where that gives them on demand only,
    the faults of torch's cost more than a few steps over the tensor.
    """
    return as_tensor(np.empty(math.prod(shape) * dtype.itemsize, np.uint8), shape, dtype)


def as_tensor(memory: Memory, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A CPU tensor over `memory`, whose bytes are as many as it needs, whatever device is default."""
    if not memory.nbytes:
        return torch.empty(shape, dtype=dtype, device="cpu")
    # Of numpy's memory, as a tensor made in a caller's inference mode cannot be used outside of it.
    return torch.from_numpy(memory).view(dtype).reshape(shape)


scratch = Scratch()
