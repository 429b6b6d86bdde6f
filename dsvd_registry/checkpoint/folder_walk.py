"""The files below a folder, and the entries that are no files to read.

Links to files are followed, wherever they lead: the hub's cache has nothing else. A link to a folder
is followed only in the place of a sub-model that the pipeline names, as loaders do, and only to a
sub-model's folder: any other link would add files that no loader reads.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from ..fs import TEMPORARY_PREFIX, storage_errors
from .checkpoint import LeftOut, shown
from .folder_listing import MAX_FILES
from .sub_models import CONFIGURATION, OTHER_CONFIGURATIONS

APART = "a hidden folder, a link to a folder, or nothing that can be read"


@dataclass(frozen=True)
class Walked:
    """The files of a folder, by their relative paths. `dangling`: the paths of broken links."""

    files: dict[str, Path]
    dangling: frozenset[str]
    left_out: tuple[LeftOut, ...]


def walk(folder: Path, sub_models: Collection[str]) -> Walked:
    """List a folder. `sub_models`: the names of folders that are followed if they are links.

    Raises:
        StorageError: if the folder cannot be read.
        CheckpointError: for a name that is not valid Unicode, and for a link in the place of a
            sub-model that leads to something else.
    """
    files: dict[str, Path] = {}
    dangling: set[str] = set()
    left_out: list[LeftOut] = []
    for path, place in _below(folder, folder, sub_models):
        _check_text(path)
        if place.name.startswith(TEMPORARY_PREFIX):
            left_out.append(LeftOut(path, APART))
        elif place.is_file():
            files[path] = place
        elif place.is_symlink() and not place.exists():
            files[path] = place
            dangling.add(path)
        else:
            left_out.append(LeftOut(path, APART))
    return Walked(files, frozenset(dangling), tuple(left_out))


def _below(top: Path, folder: Path, followed: Collection[str]) -> Iterator[tuple[str, Path]]:
    """The entries below a folder, with their paths relative to `top`."""

    def fail(error: OSError) -> None:
        raise error

    with storage_errors(folder):
        for where, folders, files in os.walk(folder, onerror=fail):
            above = Path(where)
            links = [name for name in folders if (above / name).is_symlink()]
            # For example .git, and the bookkeeping of a download.
            hidden = [name for name in folders if name.startswith(".")]
            folders[:] = sorted(set(folders) - {*links, *hidden})
            for name in sorted({*files, *links, *hidden}):
                place = above / name
                if name in links and above == top and name in followed:
                    yield from _linked(top, place)
                else:
                    yield place.relative_to(top).as_posix(), place


def _linked(top: Path, link: Path) -> Iterator[tuple[str, Path]]:
    """The files of the sub-model's folder that `link` leads to, without linked folders in it."""
    target = link.resolve()
    if top.resolve().is_relative_to(target):
        raise CheckpointError(
            f"{link.name} is a link to {target}, the folder that it is in",
            "Let it lead to the folder of that sub-model.",
        )
    if not any((target / name).is_file() for name in (CONFIGURATION, *OTHER_CONFIGURATIONS)):
        raise CheckpointError(
            f"{link.name} is a link to {target}, no sub-model's folder: it has no {CONFIGURATION}",
            "Let it lead to the folder of that sub-model, or put that folder in its place.",
        )
    for count, (path, place) in enumerate(_below(link, link, ())):
        if count > MAX_FILES:
            raise CheckpointError(f"{link.name} leads to a folder of more than {MAX_FILES} files")
        yield f"{link.name}/{path}", place


def _check_text(path: str) -> None:
    """Raise `CheckpointError` for a name that cannot be stored: the account lists every file."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"the file name {shown(path)} is not valid Unicode", "Rename that file."
        ) from error
