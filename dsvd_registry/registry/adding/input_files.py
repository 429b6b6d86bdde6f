"""Checkpoints to add, from the paths of files and folders that a user gave."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...catalog import VersionRecord
from ...checkpoint import LeftOut
from ...checkpoint.folder import files_below, is_checkpoint_folder
from ...errors import CheckpointError, InvalidArgument, NotFound, StorageError
from ...fs import storage_errors
from ..repository import Repository


@dataclass(frozen=True)
class Repeat:
    """A further path of a file that is added by its `first` path."""

    path: Path
    first: Path


def is_one_checkpoint(path: Path) -> bool:
    """True if a path is a single checkpoint: a file, existing or not, or a folder of one model.

    Any other folder is a collection of checkpoints. Raises `StorageError`.
    """
    with storage_errors(path):
        is_folder = path.is_dir()
    return not is_folder or is_checkpoint_folder(path)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints directly in a folder, by name: files, and folders of one model each.

    Raises `CheckpointError` if there are none, `StorageError`.
    """
    with storage_errors(folder):
        found = [path for path in folder.iterdir() if _is_checkpoint(path)]
        # Links come last: a file gives its own name, not that of a link to it, such as last.ckpt.
        found.sort(key=lambda path: (path.is_symlink(), path))
    if not found:
        raise CheckpointError(
            f"{folder} is a folder that contains no checkpoint",
            f"Checkpoints are files that end in {', '.join(ENDINGS)}, and folders of diffusers; "
            "deeper folders are not searched.",
        )
    return found


def each_once(paths: Iterable[Path]) -> tuple[list[Path], list[Repeat]]:
    """The paths without those of a file that an earlier path leads to, and these as repeats."""
    firsts: dict[object, Path] = {}
    repeats = []
    for path in paths:
        first = firsts.setdefault(_identity(path), path)
        if first.absolute() != path.absolute():
            repeats.append(Repeat(path, first))
    return list(firsts.values()), repeats


def left_out(path: Path, *, keep_extras: bool) -> tuple[LeftOut, ...]:
    """The files of a folder that an addition leaves out; none for a file. See `Registry.left_out`."""
    if not is_checkpoint_folder(path):
        return ()
    return files_below(path, keep_extras=keep_extras).left_out


def _is_checkpoint(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        with contextlib.suppress(StorageError):  # an unreadable folder, such as lost+found
            return is_checkpoint_folder(path)
        return False
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def _identity(path: Path) -> object:
    """A value that is equal for two paths of one file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a missing file is refused later, when it is opened
        return path.absolute()
    return status.st_dev, status.st_ino


ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def file_or_version(
    source: str | Path, base: str | None, repository: Repository
) -> Path | VersionRecord:
    """The file or the version that `source` names; a file needs a `base`, a version takes none.

    A source is a file if it is a `Path`, exists, contains a folder, or ends like a checkpoint. Raises
    `InvalidArgument` if it may be both, or if `base` is missing or not allowed; `NotFound`.
    """
    if isinstance(source, Path) or looks_like_a_file(source):
        return _with_base(Path(source), base)
    path = Path(source)
    with storage_errors(path):
        is_there = path.exists()
    version = _version(source, is_there, repository)
    if version is None:
        return _with_base(path, base)
    if is_there and base is None:
        raise InvalidArgument(
            f"{source} is a version, and a file here has that name too",
            f"Write {version.ref} for the version, or ./{source} and --base for the file.",
        )
    if is_there:
        return path
    if base is not None:
        raise InvalidArgument(
            f"{source} is a version, and its base is known",
            "Leave --base out, or give the path of a file.",
        )
    return version


def looks_like_a_file(source: str) -> bool:
    """True for a text that contains a folder, or ends like a checkpoint."""
    return "/" in source or "\\" in source or source.lower().endswith(ENDINGS)


def _with_base(path: Path, base: str | None) -> Path:
    if base is None:
        raise InvalidArgument(
            f"{path} is a file: against which base?",
            "Name it with --base; `dsvd base ls` lists them.",
        )
    return path


def _version(source: str, is_there: bool, repository: Repository) -> VersionRecord | None:
    """The version with this ref; None if there is none and the file exists."""
    try:
        return repository.catalog.version(source)
    except (NotFound, InvalidArgument) as error:
        if is_there:
            return None
        raise type(error)(f"no file is named {source}, and {error}", error.hint) from error
