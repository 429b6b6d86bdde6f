"""Many checkpoints come in, one after another: what is refused does not stop the others.

Running the same again after a stop goes on where it was: what is there already is recognised by
source, base and settings (add.py), and a version is there as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..container.records import Omission
from ..errors import BUG_EXIT_CODE, DsvdError, InvalidArgument, StorageError
from ..progress import FILES, Progress
from .add import Addition, add_version
from .add_request import AddRequest
from .best_base import BaseMatch, best_base, check_some
from .input_files import Repeat, checkpoints_in, each_once, is_one_checkpoint
from .known_models import named_files
from .model_names import NamedFile
from .report import report
from .repository import Repository

Outcome = Literal["added", "there", "upgraded", "refused"]


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

    `given_back`: whether the registry gives the file, or folder, back to the byte.
    `match`: how the base was found, where none was named. `warnings`, `left_out`: of its report.
    `own_name`: what the file is called, where its model's name had to be made from that.
    """

    path: Path
    outcome: Outcome
    ref: str | None = None
    base: str | None = None
    container: str | None = None
    source_bytes: int = 0
    stored_bytes: int = 0
    given_back: bool = False
    match: BaseMatch | None = None
    warnings: tuple[str, ...] = ()
    left_out: tuple[Omission, ...] = ()
    refusal: Refusal | None = None
    own_name: str | None = None


@dataclass(frozen=True)
class AddedMany:
    """What became of each file, in the order in which they were given.

    `repeats`: other paths of these files, for which nothing was done. `not_reached`: files whose
    turn did not come, after an interrupt; the one that it fell into is their first.
    """

    files: tuple[AddedFile, ...]
    repeats: tuple[Repeat, ...] = ()
    not_reached: tuple[Path, ...] = ()

    @property
    def added(self) -> tuple[AddedFile, ...]:
        return self._of("added")

    @property
    def there(self) -> tuple[AddedFile, ...]:
        """Those that were there already, with the same base and settings."""
        return self._of("there")

    @property
    def upgraded(self) -> tuple[AddedFile, ...]:
        """Those that were there, lossy, and are lossless now."""
        return self._of("upgraded")

    @property
    def refused(self) -> tuple[AddedFile, ...]:
        return self._of("refused")

    @property
    def source_bytes(self) -> int:
        """Bytes of the files that were added or there."""
        return sum(file.source_bytes for file in self.files)

    @property
    def stored_bytes(self) -> int:
        """Bytes of their containers and residuals; one that several share counts once."""
        return sum({file.container: file.stored_bytes for file in self.files}.values())

    @property
    def safe_to_delete(self) -> tuple[Path, ...]:
        """Originals that the registry gives back to the byte: made once, and their digest compared."""
        return tuple(file.path for file in self.files if file.given_back)

    @property
    def exit_code(self) -> int:
        """0 if every file was added or there; otherwise that of the first refusal."""
        return next((file.refusal.exit_code for file in self.files if file.refusal), 0)

    def _of(self, outcome: Outcome) -> tuple[AddedFile, ...]:
        return tuple(file for file in self.files if file.outcome == outcome)


class StoppedMany(KeyboardInterrupt):
    """An interrupt on the way. `found`: what was done until then; it stays."""

    def __init__(self, found: AddedMany) -> None:
        super().__init__()
        self.found = found


Planned = Callable[[Sequence[NamedFile]], None]
"""Told the model of each file before the first is added."""


def tell_nobody(_: Sequence[NamedFile]) -> None:
    """The default for `Planned`."""


def add_many(
    paths: Iterable[Path],
    request: AddRequest,
    repository: Repository,
    progress: Progress,
    planned: Planned = tell_nobody,
) -> AddedMany:
    """Add each file, and the checkpoints in each folder, each as a model of its own.

    Raises before anything is computed: `InvalidArgument` for no file at all,
    `NotFound` for a registry without a base, and what is wrong with the only path that
    was given. Afterwards `StoppedMany` alone.
    """
    if request.base is None:
        check_some(repository.catalog.bases())
    refused: dict[Path, AddedFile] = {}
    files, repeats = _files(list(paths), refused)
    named = named_files([path for path in files if path not in refused], request.names, repository)
    planned(named)
    of_path = {file.path: file for file in named}
    outcomes: list[AddedFile] = []
    try:
        for number, path in enumerate(files):
            progress(FILES, number, len(files))
            outcomes.append(
                refused.get(path) or _outcome(of_path[path], request, repository, progress)
            )
        progress(FILES, len(files), len(files))
    except KeyboardInterrupt as error:
        rest = tuple(files[len(outcomes) :])
        raise StoppedMany(AddedMany(tuple(outcomes), tuple(repeats), rest)) from error
    return AddedMany(tuple(outcomes), tuple(repeats))


def _files(
    paths: Sequence[Path], refused: dict[Path, AddedFile]
) -> tuple[list[Path], list[Repeat]]:
    """The files to add, in order; paths that lead to none stand among them, and in `refused`."""
    if not paths:
        raise InvalidArgument("no file is given", "Give the paths of checkpoints, or of a folder.")
    files: list[Path] = []
    for path in paths:
        try:
            files += [path] if is_one_checkpoint(path) else checkpoints_in(path)
        except DsvdError as error:
            if len(paths) == 1:
                raise
            files.append(path)
            refused[path] = _refused(path, error)
    return each_once(files)


def _outcome(
    file: NamedFile, request: AddRequest, repository: Repository, progress: Progress
) -> AddedFile:
    try:
        return _added(file, request, repository, progress)
    except DsvdError as error:
        return _refused(file.path, error)
    except Exception as error:  # whatever one file brings about, the others shall have their turn
        return _unforeseen(file.path, error)


def _added(
    file: NamedFile, request: AddRequest, repository: Repository, progress: Progress
) -> AddedFile:
    path, base, match = file.path, request.base, None
    if base is None:
        match = best_base(path, repository.catalog.bases(), repository, request.weights)
        base = repository.catalog.base(match.sure())
    addition = add_version(path, file.model, base, request, repository, progress)
    version = addition.version
    with repository.open_container(version) as container:
        header = container.header
        account = report(container, (t.name for t in repository.manifest(base).tensors))
    return AddedFile(
        path,
        outcome=outcome_of(addition),
        ref=version.ref,
        base=base.name,
        container=version.container,
        source_bytes=version.source.size,
        stored_bytes=version.stored_size,
        given_back=addition.is_all
        and (header.keeps_source or (version.residual is not None and header.keeps_files)),
        match=match,
        warnings=account.warnings,
        left_out=account.left_out,
        own_name=file.own if file.is_other else None,
    )


def outcome_of(addition: Addition) -> Outcome:
    """In a word."""
    if addition.created:
        return "added"
    return "upgraded" if addition.upgraded else "there"


def _refused(path: Path, error: DsvdError) -> AddedFile:
    refusal = Refusal(type(error).__name__, str(error), error.hint, error.exit_code)
    return AddedFile(path, "refused", refusal=refusal)


def _unforeseen(path: Path, error: Exception) -> AddedFile:
    if isinstance(error, OSError | MemoryError):
        reason = getattr(error, "strerror", None) or "out of memory"
        return _refused(path, StorageError(f"{path}: {reason}"))
    refusal = Refusal(
        type(error).__name__,
        f"{path}: this is a bug in dsvd: {type(error).__name__}: {error}",
        "Add it by itself with DSVD_DEBUG=1 to see where, and report it with what that prints.",
        BUG_EXIT_CODE,
    )
    return AddedFile(path, "refused", refusal=refusal)
