"""What the pickle machine makes of the parts of a pickle that are not plain data."""

from __future__ import annotations

from dataclasses import dataclass

from .torch_types import TorchType


@dataclass(frozen=True)
class Global:
    """The name of a function or class, "module.name". It was not looked up."""

    name: str


class Placeholder:
    """Where an object of an unknown class would be. It holds nothing and equals only itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Placeholder({self.name!r})"


@dataclass(frozen=True, eq=False)
class StorageRef:
    """A storage by its key: `elements` elements of `kind`.

    Files of torch before 0.4 may have views of storages: `first` and `count` (elements) say which
    part of the storage this one is; else they are 0 and `elements`.
    """

    key: str
    kind: TorchType
    elements: int
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A strided view of a storage, in elements of `kind`; its numbers are not yet checked."""

    storage: StorageRef
    kind: TorchType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class UnreadableTensor:
    """A tensor that has no dense strided numbers in the file that could be read."""

    reason: str
