"""Targets for a result in another layout: the files, names and shapes to write."""

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
    """A safetensors file to write, with its tensors by name.

    In the whole checkpoint, the names have `prefix` before them.
    """

    path: str
    prefix: str
    tensors: Mapping[str, TensorInfo]


@dataclass(frozen=True)
class TargetLayout:
    """The files to write: one, or those of a folder.

    `others`: the folder's files without tensors. `places`: the paths on disk of these, by their
    paths in the folder; None for a single file.
    """

    layout: LayoutName
    files: tuple[TargetFile, ...]
    others: tuple[ListedFile, ...] = ()
    places: Mapping[str, Path] | None = None

    @property
    def is_folder(self) -> bool:
        """True if the target is a folder, not a single file."""
        return self.places is not None

    def tensors(self) -> Iterator[tuple[str, TensorInfo]]:
        """Every tensor, with its name in the whole checkpoint."""
        for file in self.files:
            for name, info in file.tensors.items():
                yield file.prefix + name, info


def folder_like(pattern: Checkpoint) -> TargetLayout:
    """A folder with the files, names and shapes of `pattern`, which is a folder."""
    tree = pattern.tree
    assert tree is not None
    files = []
    for file in tree.tensors:
        names = (name for name in pattern.tensors if tree.homes[name] == file.path)
        own = {name.removeprefix(file.prefix): pattern.tensors[name] for name in names}
        files.append(TargetFile(file.path, file.prefix, own))
    return TargetLayout("diffusers", tuple(files), tree.others, tree.places)


def file_like(pattern: Mapping[str, TensorInfo]) -> TargetLayout:
    """A single file with the names and shapes of `pattern`."""
    return TargetLayout("single-file", (TargetFile(RESULT_PATH, "", pattern),))


def original_file(tensors: Mapping[str, TensorInfo]) -> TargetLayout:
    """The single file in the original layout for the tensors of a folder.

    Raises `InvalidArgument` for a family that has none.
    """
    return file_like(original_tensors(tensors))
