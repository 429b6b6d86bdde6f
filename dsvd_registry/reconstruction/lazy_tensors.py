"""A version's weights as a mapping of torch tensors, each made when it is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack

import torch

from ..closing import Closing
from ..codec.torch_tensors import TORCH_DTYPES, as_tensor
from ..errors import ContainerError
from .reconstruction import Reconstruction


def torch_tensor(reconstruction: Reconstruction, name: str) -> torch.Tensor:
    """Make a tensor of a result in memory of its own.

    Raises `KeyError` for an unknown name, `ContainerError` for a dtype that torch lacks.
    """
    info = reconstruction.infos[name]
    if info.dtype not in TORCH_DTYPES:
        raise ContainerError(f"tensor {name!r} is of {info.dtype}, which torch lacks")
    data = reconstruction.tensor_memory(name)
    return as_tensor(data, info.shape, TORCH_DTYPES[info.dtype])


class LazyTensors(Closing, Mapping[str, torch.Tensor]):
    """A mapping from names to tensors, in the order of names. Each look-up makes the tensor again.

    A look-up raises `KeyError` for an unknown name, and `ContainerError` or `BaseMismatch` for
    damage. `residual_errors` is a context manager around each look-up, which may translate these errors.
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
            return torch_tensor(self._reconstruction, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._reconstruction.names)

    def __len__(self) -> int:
        return len(self._reconstruction.names)

    def close(self) -> None:
        """Close all files; no tensor can be looked up afterwards."""
        self._opened.close()
