"""Damaged events: files whose bytes do not have the SHA-256 in their name, and their restoration."""

from __future__ import annotations

from pathlib import Path

from .. import fs, hashing
from ..errors import RegistryError
from . import event_json
from .event_log import NAME
from .registry_folder import RegistryFolder


def damaged_events(folder: RegistryFolder) -> dict[str, Path]:
    """The files of damaged events, by the SHA-256 in the name. Raises `StorageError`.

    A missing event is not among them, because nothing records its SHA-256.
    """
    found = {}
    with fs.storage_errors(folder.events):
        for path in sorted(folder.events.glob("*/*")):
            match = NAME.fullmatch(path.name)
            if match is not None and not path.parent.is_symlink() and not _is_whole(path, match[2]):
                found[match[2]] = path
    return found


def restore_event(folder: RegistryFolder, path: Path, sha256: str, data: fs.Bytes) -> None:
    """Replace a damaged event by `data`. Raises `RegistryError` if `data` has another SHA-256."""
    if hashing.sha256(data) != sha256:
        raise RegistryError(f"that is not the event {path.name}")
    fs.make_folder(folder.tmp)
    with fs.new_file(folder.tmp, memoryview(data).nbytes) as file:
        file.write(data)
        file.publish(path, replace=True, read_only=True)


def _is_whole(path: Path, sha256: str) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return hashing.sha256(file.read(event_json.LIMIT + 1)) == sha256
    except OSError:  # an unreadable file is replaced just as a damaged one
        return False
