"""Which checkpoints are meant where several are given, or folders of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.folder import is_checkpoint_folder
from ..errors import CheckpointError, StorageError
from ..fs import storage_errors
from .file_or_version import ENDINGS


@dataclass(frozen=True)
class Repeat:
    """Two paths of one file: it is taken once, by the path that came first."""

    path: Path
    first: Path


def is_one_checkpoint(path: Path) -> bool:
    """Whether a path is to become one version: a file, there or not, or a folder that is a checkpoint.

    Any other folder is one of checkpoints. Raises `StorageError`.
    """
    with storage_errors(path):
        is_folder = path.is_dir()
    return not is_folder or is_checkpoint_folder(path)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints that lie in a folder itself, by name: files, and folders that are one each.

    Raises `CheckpointError` where there are none, `StorageError`.
    """
    with storage_errors(folder):
        found = [path for path in folder.iterdir() if _is_checkpoint(path)]
        # Links last: of a file and a link to it here (last.ckpt), the file gives the name.
        found.sort(key=lambda path: (path.is_symlink(), path))
    if not found:
        raise CheckpointError(
            f"{folder} is a folder without a checkpoint in it",
            f"Checkpoints are files that end in {', '.join(ENDINGS)}, and folders of diffusers; "
            "those in folders further down are not looked for.",
        )
    return found


def each_once(paths: Iterable[Path]) -> tuple[list[Path], list[Repeat]]:
    """The paths less those of a file that an earlier one led to, through links or otherwise."""
    first: dict[object, Path] = {}
    repeats = []
    for path in paths:
        other = first.setdefault(_place(path), path)
        if other.absolute() != path.absolute():
            repeats.append(Repeat(path, other))
    return list(first.values()), repeats


def _is_checkpoint(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        with contextlib.suppress(StorageError):  # such as lost+found, which is not ours to read
            return is_checkpoint_folder(path)
        return False
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def _place(path: Path) -> object:
    """What is equal for two paths of one file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # what cannot be found is refused when its turn comes
        return path.absolute()
    return status.st_dev, status.st_ino
