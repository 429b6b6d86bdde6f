"""Many checkpoints come in, one after another: what is refused does not stop the others.

Running the same again after a stop goes on where it was: what is there already is recognised by
source, base and settings (adding.py), and a version is there as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..catalog import BaseRecord, Catalog, VersionRecord
from ..encoding.asked import Asked
from ..errors import DsvdError, InvalidArgument
from ..progress import FILES, Progress
from ..store import ObjectStore
from .adding import add_version, checked_labels, name_of
from .best_base import BaseMatch, best_base
from .many_files import check_stems, checkpoints_in, each_once, is_folder
from .opening import open_container, read_manifest
from .report import report

Outcome = Literal["added", "there", "refused"]


@dataclass(frozen=True)
class Refusal:
    """Why a file was not added: the name of the error's class, and what it says."""

    type: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class AddedFile:
    """What became of one file. `ref` and `base` (its name) are None where it was refused.

    `match`: how the base was found, where none was named. `warnings` are those of its report.
    """

    path: Path
    outcome: Outcome
    ref: str | None
    base: str | None
    container: str | None
    source_bytes: int
    stored_bytes: int
    match: BaseMatch | None
    warnings: tuple[str, ...]
    refusal: Refusal | None


@dataclass(frozen=True)
class AddedMany:
    """What became of each file, in the order in which they were given."""

    files: tuple[AddedFile, ...]

    @property
    def added(self) -> tuple[AddedFile, ...]:
        return self._of("added")

    @property
    def there(self) -> tuple[AddedFile, ...]:
        """Those that were there already, with the same base and settings."""
        return self._of("there")

    @property
    def refused(self) -> tuple[AddedFile, ...]:
        return self._of("refused")

    @property
    def source_bytes(self) -> int:
        """Bytes of the files that were added or there."""
        return sum(file.source_bytes for file in self.files)

    @property
    def stored_bytes(self) -> int:
        """Bytes of their containers; one that several share counts once."""
        return sum({file.container: file.stored_bytes for file in self.files}.values())

    @property
    def safe_to_delete(self) -> tuple[Path, ...]:
        """Originals that the registry gives back to the byte: none, until versions can be lossless."""
        return ()

    @property
    def exit_code(self) -> int:
        """0 if every file was added or there; otherwise that of the first refusal."""
        return next((file.refusal.exit_code for file in self.refused if file.refusal), 0)

    def _of(self, outcome: Outcome) -> tuple[AddedFile, ...]:
        return tuple(file for file in self.files if file.outcome == outcome)


@dataclass(frozen=True)
class Manner:
    """How every file is added. `base`: None where each file's own is to be found."""

    base: BaseRecord | None
    asked: Asked
    device: str
    note: str
    tags: tuple[str, ...]
    skip_unsupported: bool = False


def add_many(
    paths: Iterable[Path],
    manner: Manner,
    catalog: Catalog,
    objects: ObjectStore,
    progress: Progress,
) -> AddedMany:
    """Add each file, and the checkpoints in each folder.

    Raises `InvalidArgument` for no file at all, `Conflict` for two files of one stem, and what is
    wrong with the only path that was given, before anything is computed.
    """
    checked_labels(manner.tags, manner.note)
    refused: dict[Path, AddedFile] = {}
    files = _files(each_once(paths), refused)
    check_stems([path for path in files if path not in refused])
    outcomes = []
    for number, path in enumerate(files):
        progress(FILES, number, len(files))
        try:
            outcomes.append(refused.get(path) or _added(path, manner, catalog, objects, progress))
        except DsvdError as error:
            outcomes.append(_refused(path, error))
    progress(FILES, len(files), len(files))
    return AddedMany(tuple(outcomes))


def _files(paths: Sequence[Path], refused: dict[Path, AddedFile]) -> list[Path]:
    """The files to add, in order; paths that lead to none stand among them, and in `refused`."""
    if not paths:
        raise InvalidArgument("no file is given", "Give the paths of checkpoints, or of a folder.")
    files: list[Path] = []
    for path in paths:
        try:
            files += checkpoints_in(path) if is_folder(path) else [path]
        except DsvdError as error:
            if len(paths) == 1:
                raise
            files.append(path)
            refused[path] = _refused(path, error)
    return each_once(files)


def _added(
    path: Path, manner: Manner, catalog: Catalog, objects: ObjectStore, progress: Progress
) -> AddedFile:
    model, base, match = name_of(path), manner.base, None
    if base is None:
        match = best_base(path, catalog.bases(), objects)
        base = catalog.base(match.sure())
    addition = add_version(
        path,
        model,
        base,
        manner.asked,
        manner.device,
        manner.note,
        manner.tags,
        catalog,
        objects,
        progress,
        skip_unsupported=manner.skip_unsupported,
    )
    version = addition.version
    return AddedFile(
        path,
        outcome="added" if addition.created else "there",
        ref=version.ref,
        base=base.name,
        container=version.container,
        source_bytes=version.source.size,
        stored_bytes=version.size,
        match=match,
        warnings=_warnings(version, base, objects),
        refusal=None,
    )


def _warnings(version: VersionRecord, base: BaseRecord, objects: ObjectStore) -> tuple[str, ...]:
    with open_container(version, objects) as container:
        return report(container, (t.name for t in read_manifest(base, objects).tensors)).warnings


def _refused(path: Path, error: DsvdError) -> AddedFile:
    refusal = Refusal(type(error).__name__, str(error), error.hint, error.exit_code)
    return AddedFile(path, "refused", None, None, None, 0, 0, None, (), refusal)
