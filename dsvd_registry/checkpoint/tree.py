"""The files of a checkpoint that is a folder, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ListedFile:
    """One file: its path from the folder on, with slashes; its SHA-256; its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file of a folder: its path, what its tensors' names begin with, its JSON header."""

    path: str
    prefix: str
    header: bytes


@dataclass(frozen=True)
class Tree:
    """The files of a folder, by path. `places`: where each really lies.

    `homes`: the path of the file that has a tensor, by the tensor's name in the whole checkpoint.
    `extras`: files that are none of the model's, and are kept because somebody asked for it.
    """

    tensors: tuple[TensorFile, ...]
    others: tuple[ListedFile, ...]
    places: Mapping[str, Path]
    homes: Mapping[str, str]
    extras: tuple[ListedFile, ...] = ()

    @property
    def kept(self) -> tuple[ListedFile, ...]:
        """Every file that is kept as it is, the model's and the extras."""
        return (*self.others, *self.extras)
