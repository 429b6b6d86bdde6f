"""The choice between a file and a version for a word that a user gave."""

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
    """The file or the version that `source` names; a file needs a `base`, a version takes none.

    A source is a file if it is a `Path`, exists, contains a folder, or ends like a checkpoint. Raises
    `InvalidArgument` if it may be both, or if `base` is missing or not allowed; `NotFound`.
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
