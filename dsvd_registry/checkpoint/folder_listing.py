"""The listing of a folder: the path, size and SHA-256 of each of its files.

The rules, and the digest of a listing: spec/dsvd-container-v1.md, section "Trees".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from .. import canonical
from ..errors import CheckpointError
from ..fs import TEMPORARY_PREFIX
from ..hashing import sha256
from .checkpoint import shown
from .tree import ListedFile

MAX_PATH_BYTES = 4096
MAX_FILES = 1 << 14
MAX_SIZE = (1 << 53) - 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


def listing_bytes(files: Iterable[ListedFile]) -> bytes:
    """Canonical JSON of a listing: `path`, `sha256` and `size`, sorted by the path's UTF-8 bytes.

    Raises `CheckpointError` as `check_paths` does.
    """
    ordered = sorted(files, key=lambda file: file.path)  # the same order as by UTF-8 bytes
    check_paths([file.path for file in ordered])
    try:
        return canonical.encode(
            [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in ordered]
        )
    except canonical.NotCanonical as error:
        raise CheckpointError(f"its list of files is {error}") from error


def listing_digest(files: Iterable[ListedFile]) -> str:
    """The SHA-256 of the listing, which identifies a folder. Raises as `listing_bytes` does."""
    return sha256(listing_bytes(files))


def parse_listing(data: bytes) -> tuple[ListedFile, ...]:
    """Parse a listing. Raises `CheckpointError` for anything else."""
    try:
        files = tuple(
            ListedFile(str(entry["path"]), str(entry["sha256"]), int(entry["size"]))
            for entry in canonical.decode(data)
        )
        fits = all(_DIGEST.fullmatch(file.sha256) and 0 <= file.size <= MAX_SIZE for file in files)
        if fits and listing_bytes(files) == data:
            return files
    except (canonical.NotCanonical, KeyError, TypeError, ValueError):
        pass
    raise CheckpointError("it is not the listing of a folder")


def check_paths(paths: list[str]) -> None:
    """Raise `CheckpointError` unless `paths` are the sorted files of one folder.

    No path leads out of the folder, so that nothing is ever written outside it. No file is a folder
    at the same time.
    """
    if len(paths) > MAX_FILES:
        raise CheckpointError(f"it has {len(paths)} files, more than {MAX_FILES}")
    for path in paths:
        _check_path(path)
    coded = [path.encode() for path in paths]
    if any(left >= right for left, right in itertools.pairwise(coded)):
        raise CheckpointError("its files are not sorted by path, or one stands twice")
    known = set(paths)
    for path in paths:
        parts = path.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if not known.isdisjoint(above):
            raise CheckpointError(f"the path {shown(path)} leads through a file")


def _check_path(path: str) -> None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise CheckpointError(f"the path {shown(path)} is not valid Unicode") from error
    if not 1 <= size <= MAX_PATH_BYTES:
        raise CheckpointError(f"the path {shown(path)} has {size} bytes, not 1 to {MAX_PATH_BYTES}")
    if any(ord(character) < 0x20 or character in '\\:*?"<>|\x7f' for character in path):
        raise CheckpointError(f"the path {shown(path)} has a character that not every system takes")
    for part in path.split("/"):
        if not part.strip(". ") or part[-1] in ". " or part.startswith(TEMPORARY_PREFIX):
            raise CheckpointError(f"the path {shown(path)} has a part that cannot be a file's name")
