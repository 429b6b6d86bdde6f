"""A version's weights as a mapping, each tensor made when it is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from ..closing import Closing
from ..container.reader import Container
from .base_weights import BaseWeights
from .reconstruction import Reconstruction


class LazyTensors(Closing, Mapping[str, torch.Tensor]):
    """Name -> tensor, in the order of names. Tensors are not kept: each look-up makes one anew.

    A look-up raises `KeyError` for an unknown name, `ContainerError` or `BaseMismatch` for damage.
    """

    def __init__(self, container: Container, base: BaseWeights, tau: float | None) -> None:
        self._container, self._base = container, base
        stored = container.header.encoding.tau
        self._reconstruction = Reconstruction(container, base, stored if tau is None else tau)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._reconstruction.tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reconstruction.names)

    def __len__(self) -> int:
        return len(self._reconstruction.names)

    def close(self) -> None:
        """Close the container and the base; no tensor can be looked up afterwards."""
        self._container.close()
        self._base.close()
