"""The folder of a registry: its layout, how it is made, opened and found."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import fs
from ..errors import Conflict, NotFound, RegistryError
from . import description
from .folder_backend import FolderBackend
from .folder_files import FolderFiles
from .home import LocalPlace

LOCAL_NAME = ".dsvd"
ENVIRONMENT_VARIABLE = "DSVD_REGISTRY"

_SUBFOLDERS = ("objects", "events", "tmp")


@dataclass(frozen=True)
class RegistryFolder(LocalPlace):
    """A registry in a local folder, which is its own home."""

    @property
    def name(self) -> str:
        """The path, as messages give it."""
        return str(self.root)

    @property
    def backend(self) -> FolderBackend:
        """The files by their keys."""
        return FolderBackend(self.root)

    @property
    def files(self) -> FolderFiles:
        """The same files, as they are read."""
        return FolderFiles(self.backend)

    @property
    def description(self) -> Path:
        """The file that makes the folder a registry; it is written last."""
        return self.root / description.KEY

    @property
    def objects(self) -> Path:
        """Immutable files, each named by the SHA-256 of its bytes."""
        return self.root / "objects"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.root / "events"

    @property
    def quarantine(self) -> Path:
        """Damaged objects that were set aside; the folder is made with the first one."""
        return self.root / "quarantine"


def create(root: Path) -> RegistryFolder:
    """Make a registry in `root`, a new or empty folder.

    Raises `Conflict` if the folder is not empty, `StorageError`.
    """
    folder = begin(root)
    describe(folder)
    return folder


def begin(root: Path) -> RegistryFolder:
    """Make the folders of a registry in `root`, which is none before `describe`.

    Raises as `create`.
    """
    folder = RegistryFolder(root.absolute())
    fs.make_folder(folder.root)
    with fs.storage_errors(folder.root):
        if folder.description.exists():
            raise Conflict(f"{folder.root} is a registry already", "Use it as it is.")
        for entry in folder.root.iterdir():
            if not _left_by_crashed_create(entry):
                raise Conflict(
                    f"{folder.root} is not empty: it has {entry.name}",
                    "Give a new folder, such as one inside it.",
                )
    for name in _SUBFOLDERS:
        fs.make_folder(folder.root / name)
    return folder


def describe(folder: RegistryFolder) -> None:
    """Make a folder that `begin` made a registry. Raises `StorageError`."""
    fs.write_file(folder.description, description.BYTES)


def open(root: Path) -> RegistryFolder:
    """Open the registry in `root`.

    `root` itself may be a symbolic link, by the user's choice, but no folder in it. Raises `NotFound`
    if there is no registry, `RegistryError` if a newer version of the program made it,
    `registry.json` is damaged or a folder is a link, `StorageError`.
    """
    folder = RegistryFolder(root.absolute())
    if not _is_registry(folder.root):
        raise _none_at(folder.root)
    for place in (folder.objects, folder.events, folder.tmp, folder.quarantine):
        _check_no_link(place)
    path = folder.description
    with fs.storage_errors(path), path.open("rb") as file:
        data = file.read(description.MOST_BYTES)
    description.check(data, str(folder.root))
    return folder


def find(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The registry to use: `explicit`, DSVD_REGISTRY, a `.dsvd/` here or above, the user's own.

    If one of the first two is given, no other is tried. Raises `NotFound`, `StorageError`.
    """
    named = _named(explicit, environ, cwd)
    if named is not None:
        if not _is_registry(named):
            raise _none_at(named)
        return named
    places = [folder / LOCAL_NAME for folder in (cwd, *cwd.parents)]
    for place in (*places, user_folder(environ)):
        if _is_registry(place):
            return place
    raise NotFound(
        f"no registry was found in {cwd}, above it, or in {user_folder(environ)}",
        "Make one with `dsvd init`, or name one with --registry or DSVD_REGISTRY.",
    )


def place_to_create(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The path of a new registry: `explicit`, DSVD_REGISTRY, or the user's data folder."""
    return _named(explicit, environ, cwd) or user_folder(environ)


def user_folder(environ: Mapping[str, str]) -> Path:
    """The path of the registry in the user's data folder, by the platform's convention."""
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if sys.platform == "win32":
        data = environ.get("LOCALAPPDATA")
        return (Path(data) if data else home / "AppData" / "Local") / "dsvd"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "dsvd"
    data = environ.get("XDG_DATA_HOME")
    # By the XDG rules a relative path is ignored.
    use_data = data is not None and Path(data).is_absolute()
    return (Path(data) if data and use_data else home / ".local" / "share") / "dsvd"


def _named(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    value = environ.get(ENVIRONMENT_VARIABLE)
    if explicit is not None:
        return cwd / explicit
    return cwd / value if value else None


def _is_registry(place: Path) -> bool:
    with fs.storage_errors(place):
        return (place / description.KEY).exists()


def _none_at(place: Path) -> NotFound:
    return NotFound(
        f"{place} is not a registry: it has no {description.KEY}",
        f"Make one with `dsvd init {place}`, or name another with --registry or DSVD_REGISTRY.",
    )


def _left_by_crashed_create(entry: Path) -> bool:
    if entry.name.startswith(fs.TEMPORARY_PREFIX):
        return True
    is_folder = entry.is_dir() and not entry.is_symlink()
    return entry.name in _SUBFOLDERS and is_folder and not any(entry.iterdir())


def _check_no_link(place: Path) -> None:
    with fs.storage_errors(place):
        if place.is_symlink():
            raise RegistryError(
                f"{place} is a symbolic link",
                "Put the folder itself there; the registry's own folder may be a link.",
            )
