"""The values that stand for the parts of a pickle that are not plain data."""

from __future__ import annotations

from dataclasses import dataclass

from .torch_types import TorchType


@dataclass(frozen=True)
class Global:
    """The name of a function or class, "module.name". It is never imported."""

    name: str


class Placeholder:
    """The place of an object of an unknown class. It is empty and equals only itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Placeholder({self.name!r})"


@dataclass(frozen=True, eq=False)
class StorageRef:
    """A storage by its key: `elements` elements of `kind`.

    `first` and `count` (in elements) are the part that is meant. Only files of torch before 0.4 have
    such parts; elsewhere they are 0 and `elements`.
    """

    key: str
    kind: TorchType
    elements: int
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A strided view of a storage, in elements of `kind`. Its bounds are not checked yet."""

    storage: StorageRef
    kind: TorchType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class UnreadableTensor:
    """A tensor without dense strided elements in the file, which cannot be read."""

    reason: str
