"""A version's weights as a mapping, each tensor made when it is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack

import torch

from ..closing import Closing
from .reconstruction import Reconstruction


class LazyTensors(Closing, Mapping[str, torch.Tensor]):
    """Name -> tensor, in the order of names. Tensors are not kept: each look-up makes one anew.

    A look-up raises `KeyError` for an unknown name, `ContainerError` or `BaseMismatch` for damage,
    or what `telling` makes of it.
    """

    def __init__(
        self,
        reconstruction: Reconstruction,
        opened: ExitStack,
        telling: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._reconstruction, self._opened, self._telling = reconstruction, opened, telling

    def __getitem__(self, name: str) -> torch.Tensor:
        with self._telling():
            return self._reconstruction.tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reconstruction.names)

    def __len__(self) -> int:
        return len(self._reconstruction.names)

    def close(self) -> None:
        """Close what it reads; no tensor can be looked up afterwards."""
        self._opened.close()
