"""The output of a materialisation: its path, checked before the work, and its layout."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...catalog import BaseRecord
from ...container.reader import Container
from ...errors import Conflict, InvalidArgument
from ...layouts import describe
from ...reconstruction.base_weights import BaseWeights
from ...reconstruction.target_layout import (
    LayoutName,
    TargetLayout,
    file_like,
    folder_like,
    original_file,
)
from ..repository import Repository

Kind = Literal["a safetensors file", "a .dsvd file", "a folder", "a folder for PEFT"]

_PICKLE = "a pickle of torch"
_KIND_OF_SUFFIX = {
    ".safetensors": "a safetensors file",
    ".sft": "a safetensors file",
    ".ckpt": _PICKLE,
    ".pt": _PICKLE,
    ".pth": _PICKLE,
    ".bin": _PICKLE,
    ".pkl": _PICKLE,
    ".gguf": "a GGUF file",
    ".onnx": "an ONNX file",
    ".dsvd": "a .dsvd file",
    ".dsvdr": "the residual of a .dsvd file",
    ".dsvdo": "the original of a .dsvd file",
}
_ENDINGS: dict[Kind, str] = {"a safetensors file": ".safetensors", "a .dsvd file": ".dsvd"}


@dataclass(frozen=True)
class ProtectedPath:
    """A file or folder that no result may replace, and into which none may be written."""

    path: Path
    description: str


def check_output(output: Path, repository: Repository) -> None:
    """Check that a result may be written to `output`.

    Links are followed, and files are compared by identity, not by name. Raises `InvalidArgument` for
    standard output, and `Conflict` for a path in the registry's folder or in a linked base, or one
    that would replace their files.
    """
    if str(output) == "-":
        raise InvalidArgument(
            "a result cannot be written to standard output",
            "Give the path of a file.",
        )
    for place in _resolved_paths(output):
        needed = needed_by_registry(place, repository)
        if needed is not None:
            raise Conflict(f"{output} {needed}", "Give a path outside of it.")


def needed_by_registry(place: Path, repository: Repository) -> str | None:
    """The registry's need of a file, as the end of a sentence; None if it has none."""
    for protected in _protected_paths(repository):
        if _is_same(place, protected.path):
            return f"is {protected.description}"
        if _is_in(place, protected.path):
            return f"lies in {protected.description}"
    return None


def check_folder(output: Path, repository: Repository) -> None:
    """Raise `Conflict` if a new folder would replace one that has protected files in it."""
    for protected in _protected_paths(repository):
        if any(
            _is_in(Path(os.path.realpath(protected.path)), place)
            for place in _resolved_paths(output)
        ):
            raise Conflict(
                f"{output} is a folder that holds {protected.description}",
                "Give a path outside of it.",
            )


def _protected_paths(repository: Repository) -> Iterator[ProtectedPath]:
    root = repository.home.root
    yield ProtectedPath(root, f"the folder of the registry {root}")
    path = repository.catalog.path
    if path is not None:
        for ending in ("", "-wal", "-shm"):
            yield ProtectedPath(path.with_name(path.name + ending), "the catalog of the registry")
    for base in repository.catalog.bases():
        if base.link is not None:
            kind = "folder" if base.is_folder else "file"
            yield ProtectedPath(base.link, f"the {kind} of the base {base.name!r}")


def check_kind(output: Path, kind: Kind) -> None:
    """Raise `InvalidArgument` if the ending of `output` belongs to another kind of file."""
    named_kind = _KIND_OF_SUFFIX.get(output.suffix.lower(), kind)
    if named_kind == kind:
        return
    hint = f"Name it {output.stem}{_ENDINGS.get(kind, '')}."
    if kind == "a folder":
        hint += " (--layout single-file writes one file.)"
    raise InvalidArgument(
        f"{output} would be {kind}, and its name is that of {named_kind}",
        hint,
    )


def _resolved_paths(output: Path) -> Iterator[Path]:
    """The path itself, in its real folder, and the target of the link if it is one."""
    yield Path(os.path.realpath(output.parent)) / output.name
    yield Path(os.path.realpath(output))


def _is_in(place: Path, folder: Path) -> bool:
    return any(_is_same(parent, folder) for parent in place.parents)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them does not exist
        return one == Path(os.path.realpath(other))


def pattern_of(
    layout: LayoutName | None, like: str | None, repository: Repository
) -> BaseRecord | None:
    """The base named `like`, whose folder a result is laid out as; None if none is named.

    Raises `InvalidArgument` for another layout than diffusers, `NotFound` for an unknown base.
    """
    if like is None:
        return None
    if layout != "diffusers":
        raise InvalidArgument("like is for the layout diffusers alone", "Leave --like out.")
    return repository.catalog.base(like)


@contextlib.contextmanager
def open_target(
    layout: LayoutName | None,
    container: Container,
    base: BaseWeights,
    pattern: BaseRecord | None,
    repository: Repository,
) -> Iterator[TargetLayout | None]:
    """The target files of a version in `layout`; None for the files that were added.

    A folder gets the files and configurations of `pattern`, or else of the base. A single file gets
    the tensor names of the base if that is a file in the original layout. Raises `InvalidArgument` if
    no base has configurations, `BaseMismatch`, `CheckpointError`.
    """
    is_folder = container.header.tree is not None
    if layout == "diffusers" and pattern is not None:
        with repository.open_base_checkpoint(pattern, repository.manifest(pattern)) as checkpoint:
            if checkpoint.tree is None:
                raise InvalidArgument(
                    f"the base {pattern.name!r} is a single file, without configurations",
                    "Name a base that was added as a folder of diffusers.",
                )
            yield folder_like(checkpoint)
        return
    if layout is None or (layout == "diffusers" and is_folder):
        yield None
        return
    if layout == "diffusers":
        if base.checkpoint.tree is None:
            raise InvalidArgument(
                f"a folder of diffusers has configurations, and the base {base.name!r} has none",
                "Add a folder of the family with `dsvd base add NAME FOLDER`, and name it with --like.",
            )
        yield folder_like(base.checkpoint)
        return
    records = container.header.tensors
    own = {record.name: record for record in records}
    if not is_folder and describe(own).layout != "diffusers":
        yield None
    elif describe(base.checkpoint.tensors).layout == "ldm" and base.checkpoint.tree is None:
        yield file_like(base.checkpoint.tensors)
    else:
        yield original_file(own)
