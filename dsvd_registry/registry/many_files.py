"""Which checkpoints are meant where several are given, or folders of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import CheckpointError, Conflict
from ..fs import storage_errors
from ..store.names import folded
from .file_or_ref import ENDINGS

PIPELINE = "model_index.json"  # what makes a folder one checkpoint of diffusers


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints that lie in a folder itself, by name.

    Raises `CheckpointError` where there are none, and for a folder that is one checkpoint.
    """
    with storage_errors(folder):
        if (folder / PIPELINE).exists():
            raise CheckpointError(
                f"{folder} is a folder of diffusers (it has {PIPELINE}), which cannot be added yet",
                "Save its pipeline as one safetensors file, and add that.",
            )
        found = sorted(path for path in folder.iterdir() if _is_checkpoint(path))
    if not found:
        raise CheckpointError(
            f"{folder} is a folder without a checkpoint in it",
            f"Checkpoints are files that end in {', '.join(ENDINGS)}.",
        )
    return found


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder. Raises `StorageError`."""
    with storage_errors(path):
        return path.is_dir()


def each_once(paths: Iterable[Path]) -> list[Path]:
    """The paths less those that lead to a place that an earlier one led to."""
    return list({path.absolute(): path for path in reversed(list(paths))}.values())[::-1]


def check_stems(paths: Sequence[Path]) -> None:
    """Raises `Conflict` for two files that would become versions of one model."""
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(folded(path.stem), path)
        if other is not path:
            raise Conflict(
                f"{other} and {path} would both be the model {path.stem}",
                "Rename one of them, or add it by itself with --name.",
            )


def _is_checkpoint(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.name.lower().endswith(ENDINGS) and not hidden and path.is_file()
