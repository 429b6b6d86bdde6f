"""Whether a word names a file or a version."""

from __future__ import annotations

from pathlib import Path

from ..catalog import VersionRecord
from ..errors import InvalidArgument, NotFound
from ..fs import storage_errors
from .repository import Repository

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def file_or_version(
    source: str | Path, base: str | None, repository: Repository
) -> Path | VersionRecord:
    """The file that `source` names, or the version; `base` is given for files, and only for them.

    A file: a `Path`, what exists, what has a folder in front or a checkpoint's ending. Raises
    `InvalidArgument` for a word that may mean both, and where `base` does not fit; `NotFound`.
    """
    if isinstance(source, Path) or _looks_like_a_file(source):
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


def _looks_like_a_file(source: str) -> bool:
    return "/" in source or "\\" in source or source.lower().endswith(ENDINGS)


def _with_base(path: Path, base: str | None) -> Path:
    if base is None:
        raise InvalidArgument(
            f"{path} is a file: against which base?",
            "Name it with --base; `dsvd base ls` has them.",
        )
    return path


def _version(source: str, is_there: bool, repository: Repository) -> VersionRecord | None:
    """None only where the file is there."""
    try:
        return repository.catalog.version(source)
    except (NotFound, InvalidArgument) as error:
        if is_there:
            return None
        raise type(error)(f"no file is named {source}, and {error}", error.hint) from error
