"""A cache of bounded size: a folder of files that can be made again.

When it is full, the least recently used files are removed. The modification time of a file is the
time of its last use. Several processes may share the folder.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidArgument, StorageError
from .fs import remove_file, storage_errors, temporary_files

DEFAULT_LIMIT = 50 * 10**9
FOLDER_VARIABLE, LIMIT_VARIABLE = "DSVD_CACHE", "DSVD_CACHE_LIMIT"
ABANDONED = 24 * 3600.0  # seconds after which an unfinished file is taken for the trace of a crash

# Only files of this pattern are ever removed: a user may choose a folder that has other files too.
_NAME = re.compile(r"[0-9a-f]{64}((-[0-9.e-]+)?\.safetensors|\.object)")


@dataclass(frozen=True)
class Cache:
    """The folder, and the largest total size in bytes of the cached files in it."""

    folder: Path
    limit: int

    def path_of(self, sha256: str, tau: str = "") -> Path:
        """The path of the file with this SHA-256; with `tau`, of the container with it at that tau."""
        return self.folder / f"{sha256}{tau and '-'}{tau}.safetensors"

    def path_of_object(self, sha256: str) -> Path:
        """The path of a copy of an object of a registry that is elsewhere."""
        return self.folder / f"{sha256}.object"

    def make_room(self, *asked_for: Path, coming: int = 0) -> None:
        """Remove the least recently used files, never `asked_for`, until `coming` more bytes fit.

        Who has opened a file that is removed can go on reading it, except on Windows, where it stays.
        Raises `StorageError` if the folder cannot be read.
        """
        files = []
        with storage_errors(self.folder):
            for path in self.folder.iterdir():
                if _NAME.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):  # another process may remove it
                        status = path.stat()
                        files.append((status.st_mtime_ns, path, status.st_size))
        total = coming + sum(size for _, _, size in files)
        for _, path, size in sorted(files):
            if total <= self.limit:
                break
            if path not in asked_for:
                # A file of another user, or one open on Windows, stays; the next one is tried.
                with contextlib.suppress(StorageError):
                    remove_file(path)
                    total -= size

    def remove_abandoned(self) -> None:
        """Remove the unfinished files of crashed processes."""
        for path in temporary_files(self.folder):
            with contextlib.suppress(FileNotFoundError, StorageError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    remove_file(path)


def find_cache(folder: str | Path | None, limit: int | None, environ: Mapping[str, str]) -> Cache:
    """The cache to use: the arguments come first, then DSVD_CACHE and DSVD_CACHE_LIMIT.

    The default is 50 GB in the user's cache folder. Raises `InvalidArgument` for a limit that is not
    a number of bytes.
    """
    named = folder or environ.get(FOLDER_VARIABLE)
    if limit is None:
        limit = bytes_from(environ, LIMIT_VARIABLE, DEFAULT_LIMIT)
    if limit < 0:
        raise InvalidArgument(
            f"the cache limit is {limit} bytes", "Give 0 or more; 0 keeps a single file."
        )
    place = Path(named).absolute() if named else _user_folder(environ)
    return Cache(place, limit)


def bytes_from(environ: Mapping[str, str], variable: str, default: int) -> int:
    """The number of bytes that a variable of the environment gives. Raises `InvalidArgument`."""
    text = environ.get(variable)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidArgument(
            f"{variable} is {text!r}, which is not a number of bytes",
            f"Set it to a number such as {default}.",
        )
    return int(text)


def _user_folder(environ: Mapping[str, str]) -> Path:
    """The folder in the user's cache, by the platform's convention."""
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if sys.platform == "win32":
        data = environ.get("LOCALAPPDATA")
        return (Path(data) if data else home / "AppData" / "Local") / "dsvd" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "dsvd"
    cache = environ.get("XDG_CACHE_HOME")
    # By the XDG rules a relative path is ignored.
    use_cache = cache is not None and Path(cache).is_absolute()
    return (Path(cache) if cache and use_cache else home / ".cache") / "dsvd"
