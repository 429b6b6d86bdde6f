"""Checks of the path of a result: its name says what it is, and nothing needed is in its place."""

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
_OF_SUFFIX = {
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
}
_ENDINGS: dict[Kind, str] = {"a safetensors file": ".safetensors", "a .dsvd file": ".dsvd"}


@dataclass(frozen=True)
class Kept:
    """A file or a folder that no result may be written over, into, or in the place of."""

    path: Path
    what: str


def check_output(output: Path, repository: Repository) -> None:
    """Check that a result may be written to `output`.

    Links are followed, and a place is told by what it is, not by its name. Raises `InvalidArgument`
    for standard output, and `Conflict` for what would be in the place of the registry's own files, or
    of a linked base's, or among them.
    """
    if str(output) == "-":
        raise InvalidArgument(
            "nothing is written to standard output",
            "Give the path of a file.",
        )
    for one in _kept(repository):
        for place in _meanings(output):
            if _is_same(place, one.path):
                raise Conflict(f"{output} is {one.what}", "Give another path.")
            if _is_in(place, one.path):
                raise Conflict(f"{output} lies in {one.what}", "Give a path outside of it.")


def check_folder(output: Path, repository: Repository) -> None:
    """Raises `Conflict` where a new folder would take the place of one that holds what is needed."""
    for one in _kept(repository):
        if any(_is_in(Path(os.path.realpath(one.path)), place) for place in _meanings(output)):
            raise Conflict(f"{output} is a folder that holds {one.what}", "Give another path.")


def _kept(repository: Repository) -> Iterator[Kept]:
    root = repository.home.root
    yield Kept(root, f"the folder of the registry {root}")
    path = repository.catalog.path
    if path is not None:
        for ending in ("", "-wal", "-shm"):
            yield Kept(path.with_name(path.name + ending), "the catalog of the registry")
    for base in repository.catalog.bases():
        if base.link is not None:
            what = "folder" if base.is_folder else "file"
            yield Kept(base.link, f"the {what} of the base {base.name!r}")


def check_kind(output: Path, kind: Kind) -> None:
    """Raises `InvalidArgument` where the name of a result says that it is another kind of file."""
    said = _OF_SUFFIX.get(output.suffix.lower(), kind)
    if said == kind:
        return
    hint = f"Name it {output.stem}{_ENDINGS.get(kind, '')}."
    if kind == "a folder":
        hint += " (--layout single-file writes one file.)"
    raise InvalidArgument(
        f"{output} would be {kind}, and its name says that it is {said}",
        hint,
    )


def _meanings(output: Path) -> Iterator[Path]:
    """The place that has the name, and the one that a link of that name leads to."""
    yield Path(os.path.realpath(output.parent)) / output.name
    yield Path(os.path.realpath(output))


def _is_in(place: Path, folder: Path) -> bool:
    return any(_is_same(parent, folder) for parent in place.parents)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return one == Path(os.path.realpath(other))
