"""A base and a fine-tune on disk, read tensor by tensor."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .streamed import CODES, Kind

DTYPES = {code: dtype for dtype, code in CODES.items()}
FULL_SIZE = 500_000_000  # parameters of a model that people use


class BadPair(Exception):
    """The error for two files that are no base and fine-tune; its text says why."""


class Unsuited(Exception):
    """The error for a subject that a figure cannot measure; its text says why."""


class OpenPair:
    """Both files, open. Tensors are in mapped pages: keep no reference beyond `Subject.open`."""

    def __init__(self, base: Any, tuned: Any) -> None:
        self._base, self._tuned = base, tuned

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The dtype and shape of each tensor of the fine-tune, in the order of its file."""
        found = {}
        for name in self._tuned.offset_keys():
            part = self._tuned.get_slice(name)
            found[name] = (DTYPES[part.get_dtype()], tuple(part.get_shape()))
        return found

    @property
    def is_full_size(self) -> bool:
        """Return whether the model has at least `FULL_SIZE` parameters."""
        return sum(math.prod(shape) for _, shape in self.kinds.values()) >= FULL_SIZE

    def matrices(self) -> dict[str, tuple[int, int]]:
        """The matrix shape (out, rest) of each tensor of two or more dimensions, as in Delta-SVD."""
        return {
            name: (shape[0], math.prod(shape[1:]))
            for name, (_, shape) in self.kinds.items()
            if len(shape) >= 2
        }

    def base(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._base.get_tensor(name)
        return tensor

    def base_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._base.get_slice(name).get_shape())

    def tuned(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._tuned.get_tensor(name)
        return tensor

    def delta(self, name: str) -> torch.Tensor:
        """The delta (fine-tune minus base) in fp32, in the tensor's shape."""
        return self.tuned(name).to(torch.float32) - self.base(name).to(torch.float32)


@dataclass(frozen=True)
class Subject:
    """A pair of files, and its title in the tables.

    `svd`: a full SVD of every layer is worth its time. `aims`: the aims for time, size and memory
    apply to it. `trained`: it comes from a training, not from random numbers.
    """

    title: str
    base: Path
    tuned: Path
    svd: bool = True
    aims: bool = False
    trained: bool = False

    @contextlib.contextmanager
    def open(self) -> Iterator[OpenPair]:
        with contextlib.ExitStack() as stack:
            yield OpenPair(
                *(
                    stack.enter_context(safe_open(path, framework="pt"))
                    for path in (self.base, self.tuned)
                )
            )

    @property
    def size(self) -> int:
        """The size of the fine-tune's file in bytes."""
        return self.tuned.stat().st_size

    def check(self) -> None:
        """Raise `BadPair` unless both are safetensors files of the same names and shapes."""
        try:
            with self.open() as pair:
                for name, (_, shape) in pair.kinds.items():
                    if pair.base_shape(name) != shape:
                        raise BadPair(f"tensor {name} of base and fine-tune differ in shape")
        except (OSError, SafetensorError, KeyError) as error:
            raise BadPair(
                f"not a pair of safetensors files with the same names: {error}"
            ) from error

    def warm(self) -> None:
        """Read both files once, so that they are in the page cache if there is room."""
        for path in (self.base, self.tuned):
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass
