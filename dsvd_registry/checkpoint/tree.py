"""The files of a checkpoint that is a folder, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ListedFile:
    """A file: its path relative to the folder, with slashes; its SHA-256; its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file of a folder: its path, the prefix of its tensors' names, its JSON header."""

    path: str
    prefix: str
    header: bytes


@dataclass(frozen=True)
class Tree:
    """The files of a folder.

    `tensors`: its safetensors files. `others`: the model's other files. `places`: the real path of
    each file, by its relative path. `homes`: the relative path of the file that has a tensor, by the
    tensor's name in the whole checkpoint. `extras`: files that are not the model's, and are kept on
    request.
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
