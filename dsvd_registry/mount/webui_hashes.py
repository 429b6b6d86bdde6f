"""The SHA-256 of mounted checkpoints, written where A1111 and Forge remember those they computed.

Both hash a checkpoint when they first load it, and remember that by its path below their folder of
checkpoints: in the `diskcache` folder `cache/hashes`, under `checkpoint/PATH`, as `{"mtime": seconds,
"sha256": digits}`. An entry counts while the file is not newer than its `mtime`. Writing is left to
diskcache, as the web UIs do; nothing is read back, since what it reads it unpickles.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InvalidArgument, MissingExtra, NotFound, StorageError
from ..registry import Registry
from .tree import names_of, time_ns_of

# Seconds: what floats lose of a time in nanoseconds, less than lies between two versions.
_MARGIN = 5e-7


@dataclass(frozen=True)
class FilledHashes:
    """The cache that was filled. `entries`: the names that have their SHA-256 there now."""

    cache: Path
    entries: int


def fill_webui_hashes(
    registry: Registry, webui: Path, below: str, pattern: str | None
) -> FilledHashes:
    """Tell a web UI the SHA-256 of each checkpoint in a mount of the registry.

    Args:
        registry: The registry that is mounted, with neither a tau nor a dtype.
        webui: The folder of A1111 or Forge that has `cache`.
        below: Where the mounted checkpoints lie below its folder of checkpoints; "" for right there.
        pattern: Only models of these names.

    Raises:
        NotFound: The web UI has no cache yet.
        InvalidArgument: `below` is not a path below the folder.
        MissingExtra: `diskcache` is not installed.
        StorageError: The cache cannot be written.
    """
    try:
        import diskcache
    except ImportError:
        raise MissingExtra(
            "filling a web UI's hashes needs diskcache", "pip install 'dsvd-registry[webui]'"
        ) from None
    folder = PurePosixPath(below)
    if folder.is_absolute() or ".." in folder.parts:
        raise InvalidArgument(
            f"{below!r} is not a path below the web UI's folder of checkpoints",
            "Give one as `dsvd`.",
        )
    place = webui / "cache"
    if not place.is_dir():
        raise NotFound(
            f"{webui} has no folder `cache`",
            "Give the folder of A1111 (1.9 or newer) or Forge, and start that once before.",
        )
    entries = _entries(registry, folder, pattern)
    try:
        with diskcache.Cache(str(place / "hashes")) as hashes, hashes.transact():
            for title, entry in entries.items():
                hashes[title] = entry
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        raise StorageError(f"cannot write to {place / 'hashes'}: {error}") from error
    return FilledHashes(place / "hashes", len(entries))


def _entries(
    registry: Registry, folder: PurePosixPath, pattern: str | None
) -> dict[str, dict[str, float | str]]:
    """The entry of each name of a mounted checkpoint, by its key."""
    versions = registry.versions(pattern)
    listings = registry.result_listings(versions)
    entries: dict[str, dict[str, float | str]] = {}
    for version in versions:
        files = listings.files.get(version.ref, ())
        if len(files) != 1 or files[0].sha256 is None:
            continue  # a folder, which is no checkpoint to a web UI, or a damaged version
        for name in names_of(version):
            entries[f"checkpoint/{folder / name}.safetensors"] = {
                "mtime": time_ns_of(version) / 10**9 + _MARGIN,
                "sha256": files[0].sha256,
            }
    return entries
