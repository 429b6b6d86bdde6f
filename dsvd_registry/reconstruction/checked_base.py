"""A base for readers of parts, which gives no byte that was not checked after it was copied."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..checkpoint.checkpoint import Copier
from ..checkpoint.tensor_info import tensor_bytes
from ..container.records import BaseTensor
from .base_weights import BaseWeights


class CheckedBase:
    """A base for readers of parts: every byte is checked after it was copied to memory of our own.

    A base whose file is changed while it is open gives `BaseMismatch`, never a wrong byte.
    """

    def __init__(self, weights: BaseWeights) -> None:
        self._weights = weights

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        self._weights.check_suits(wanted, digest)

    def read(self, tensor: BaseTensor) -> memoryview:
        memory = np.empty(tensor_bytes(tensor.dtype, tensor.shape), np.uint8)
        self.copier(tensor)(0, memory)
        return memory.data

    def copier(self, tensor: BaseTensor) -> Copier:
        copier = self._weights.copier(tensor)
        self.release(tensor)
        return copier

    def release(self, tensor: BaseTensor) -> None:
        self._weights.release(tensor)

    def kept_file(self, sha256: str) -> Path | None:
        return self._weights.kept_file(sha256)
