"""Addition of many checkpoints, one after another. A refused file does not stop the others.

The same call after an interrupt continues the work: finished versions are recognised by source, base
and settings (add.py), and a version exists as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...container.records import Omission
from ...errors import BUG_EXIT_CODE, DsvdError, InvalidArgument, StorageError
from ...progress import FILES, Progress
from ..accounts.report import report
from ..describing.taken_in import NOTHING, TakenIn
from ..repository import Repository
from .add import add_version
from .add_request import AddRequest
from .best_base import BaseMatch, best_base, check_has_base
from .commit import Addition
from .input_files import Repeat, checkpoints_in, each_once, is_one_checkpoint
from .known_models import named_files
from .model_names import NamedFile

Outcome = Literal["added", "there", "upgraded", "refused"]


@dataclass(frozen=True)
class Refusal:
    """The reason why a file was not added: the error's class name, message, hint and exit code."""

    type: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class AddedFile:
    """The outcome of one file. `ref` and `base` (a name) are None for a refused file.

    `given_back`: True if the registry can give the file or folder back to the byte. `match`: the
    comparison that chose the base, if no base was named. `warnings`, `left_out`: those of the report.
    `own_name`: the name of the file, if the model has a different one. `taken_in`: as in `Addition`.
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
    taken_in: TakenIn = NOTHING


@dataclass(frozen=True)
class AddedMany:
    """The outcome of each file, in the order of the paths.

    `repeats`: further paths of the same files, which were skipped. `not_reached`: the files that an
    interrupt prevented; the first of them is the one during which it came.
    """

    files: tuple[AddedFile, ...]
    repeats: tuple[Repeat, ...] = ()
    not_reached: tuple[Path, ...] = ()

    @property
    def added(self) -> tuple[AddedFile, ...]:
        return self._of("added")

    @property
    def there(self) -> tuple[AddedFile, ...]:
        """The files that were recognised: a version with the same base and settings existed."""
        return self._of("there")

    @property
    def upgraded(self) -> tuple[AddedFile, ...]:
        """The files whose version existed, was lossy, and is lossless now."""
        return self._of("upgraded")

    @property
    def refused(self) -> tuple[AddedFile, ...]:
        return self._of("refused")

    @property
    def source_bytes(self) -> int:
        """Bytes of all files that were not refused."""
        return sum(file.source_bytes for file in self.files)

    @property
    def stored_bytes(self) -> int:
        """Bytes that their versions take; a container that several share counts once."""
        return sum({file.container: file.stored_bytes for file in self.files}.values())

    @property
    def safe_to_delete(self) -> tuple[Path, ...]:
        """Originals that the registry gives back to the byte, as a comparison of digests has shown."""
        return tuple(file.path for file in self.files if file.given_back)

    @property
    def exit_code(self) -> int:
        """0 if no file was refused; otherwise the exit code of the first refusal."""
        return next((file.refusal.exit_code for file in self.files if file.refusal), 0)

    def _of(self, outcome: Outcome) -> tuple[AddedFile, ...]:
        return tuple(file for file in self.files if file.outcome == outcome)


class StoppedMany(KeyboardInterrupt):
    """An interrupt of the work. `found`: the outcomes until then, which stay."""

    def __init__(self, found: AddedMany) -> None:
        super().__init__()
        self.found = found


Planned = Callable[[Sequence[NamedFile]], None]
"""A function that is called with the model of each file before the first file is added."""


def tell_nobody(_: Sequence[NamedFile]) -> None:
    """The default for `Planned`."""


def add_many(
    paths: Iterable[Path],
    request: AddRequest,
    repository: Repository,
    progress: Progress,
    planned: Planned = tell_nobody,
) -> AddedMany:
    """Add each file, and each checkpoint in a folder, as a model of its own.

    Before the first file is read, raises `InvalidArgument` if there is no file, `NotFound` if the
    registry has no base, and the error of the path if only one was given and it is refused.
    Afterwards only `StoppedMany` is raised.
    """
    if request.base is None:
        check_has_base(repository.catalog.bases())
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
    """The files to add, in order, and repeats; a path without a checkpoint is put into `refused`."""
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
    except Exception as error:  # even a bug must not keep the other files from being added
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
        given_back=version.original is not None
        or (
            not addition.left_out
            and (header.keeps_source or (version.residual is not None and header.keeps_files))
        ),
        match=match,
        warnings=account.warnings,
        left_out=account.also_left_out(addition.left_out).left_out,
        own_name=file.own_name if file.is_renamed else None,
        taken_in=addition.taken_in,
    )


def outcome_of(addition: Addition) -> Outcome:
    """The outcome of an addition in one word."""
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
