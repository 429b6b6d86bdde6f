"""Checks of an output path: its ending fits the result, and it replaces nothing that is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import Conflict, InvalidArgument
from .repository import Repository

Kind = Literal["a safetensors file", "a .dsvd file", "a folder"]

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
    for protected in _protected_paths(repository):
        for place in _resolved_paths(output):
            if _is_same(place, protected.path):
                raise Conflict(f"{output} is {protected.description}", "Give another path.")
            if _is_in(place, protected.path):
                raise Conflict(
                    f"{output} lies in {protected.description}", "Give a path outside of it."
                )


def check_folder(output: Path, repository: Repository) -> None:
    """Raise `Conflict` if a new folder would replace one that has protected files in it."""
    for protected in _protected_paths(repository):
        if any(
            _is_in(Path(os.path.realpath(protected.path)), place)
            for place in _resolved_paths(output)
        ):
            raise Conflict(
                f"{output} is a folder that holds {protected.description}", "Give another path."
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
