"""What a result is to be written as, where that is not how it was added: files, names, shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.tree import ListedFile
from ..container.records import RESULT_PATH
from ..layouts.original_layout import original_tensors

LayoutName = Literal["diffusers", "single-file"]


@dataclass(frozen=True)
class TargetFile:
    """A safetensors file to be written: its tensors by the names in it, which have `prefix` before them
    in the whole checkpoint."""

    path: str
    prefix: str
    tensors: Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Target:
    """Files to be written, one or those of a folder. `places`: where the folder's other files lie."""

    layout: LayoutName
    files: tuple[TargetFile, ...]
    others: tuple[ListedFile, ...] = ()
    places: Mapping[str, Path] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, or a single file."""
        return self.places is not None

    def tensors(self) -> Iterator[tuple[str, TensorInfo]]:
        """Every tensor, under its name in the whole checkpoint."""
        for file in self.files:
            for name, info in file.tensors.items():
                yield file.prefix + name, info


def folder_like(pattern: Checkpoint) -> Target:
    """The folder that `pattern`, which is one, is: its files, names and shapes."""
    tree = pattern.tree
    assert tree is not None
    files = []
    for file in tree.tensors:
        names = (name for name in pattern.tensors if tree.homes[name] == file.path)
        own = {name.removeprefix(file.prefix): pattern.tensors[name] for name in names}
        files.append(TargetFile(file.path, file.prefix, own))
    return Target("diffusers", tuple(files), tree.others, tree.places)


def file_like(pattern: Mapping[str, TensorInfo]) -> Target:
    """A single file with the names and shapes of `pattern`."""
    return Target("single-file", (TargetFile(RESULT_PATH, "", pattern),))


def original_file(tensors: Mapping[str, TensorInfo]) -> Target:
    """The file in the original layout that the tensors of a folder make.

    Raises `InvalidArgument` for a family that has none.
    """
    return file_like(original_tensors(tensors))
