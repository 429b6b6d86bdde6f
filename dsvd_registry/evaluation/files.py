"""One digest of all that a folder holds."""

from __future__ import annotations

from pathlib import Path

from .. import canonical
from ..hashing import sha256, sha256_file


def folder_digest(folder: Path) -> str:
    """The SHA-256 of the paths and contents of all files below a folder.

    Raises `StorageError`.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    return sha256(canonical.encode(listed))
