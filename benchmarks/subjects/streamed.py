"""A safetensors file that is written tensor by tensor, for files larger than free memory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
Kind = tuple[torch.dtype, tuple[int, ...]]


class StreamedSafetensors:
    """A writer of the tensors of `kinds` (name: dtype and shape), in their order."""

    def __init__(self, path: Path, kinds: Mapping[str, Kind]) -> None:
        self._left = dict(kinds)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        position = 0
        for name, (dtype, shape) in kinds.items():
            end = position + math.prod(shape) * dtype.itemsize
            header[name] = {
                "dtype": CODES[dtype],
                "shape": list(shape),
                "data_offsets": [position, end],
            }
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the format aligns the data so
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(text)) + text)

    def write(self, name: str, tensor: torch.Tensor) -> None:
        expected = next(iter(self._left))
        if name != expected or self._left.pop(name) != (tensor.dtype, tuple(tensor.shape)):
            raise ValueError(f"{name} is not the next tensor, or has another dtype or shape")
        self._file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if error is None and self._left:
            raise ValueError(f"{len(self._left)} tensors are missing")
