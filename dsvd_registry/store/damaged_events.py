"""Events whose files have other bytes than their names say, and good bytes put in their place."""

from __future__ import annotations

from pathlib import Path

from .. import fs, hashing
from ..errors import RegistryError
from . import event_json
from .event_log import NAME
from .registry_folder import RegistryFolder


def damaged_events(folder: RegistryFolder) -> dict[str, Path]:
    """The files of events without the bytes that their names say, by the SHA-256 in the name.

    An event whose file is gone is not among them: nothing says what it was. Raises `StorageError`.
    """
    found = {}
    with fs.storage_errors(folder.events):
        for path in sorted(folder.events.glob("*/*")):
            match = NAME.fullmatch(path.name)
            if match is not None and not path.parent.is_symlink() and not _is_whole(path, match[2]):
                found[match[2]] = path
    return found


def restore_event(folder: RegistryFolder, path: Path, sha256: str, data: fs.Bytes) -> None:
    """Put `data` in the place of a damaged event. Raises `RegistryError` if it is not its bytes."""
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
    except OSError:  # what cannot be read is put in its place just as well
        return False
