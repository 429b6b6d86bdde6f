"""Addition of many checkpoints, here or by an executor. A refused file does not stop the others.

The same call after an interrupt continues the work: finished versions are recognised by source, base
and settings (add.py), and a version exists as a whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from ...errors import DsvdError, InvalidArgument
from ...progress import FILES, Progress
from ..repository import Repository
from .add_request import AddRequest
from .batch import VERSIONS, Batch
from .best_base import check_has_base
from .file_outcomes import AddedFile, AddedMany, StoppedMany, refused
from .input_files import Repeat, checkpoints_in, each_once, is_one_checkpoint
from .known_models import named_files
from .model_names import NamedFile
from .prepare_file import PreparedFile, prepare_file
from .spread import spread

Planned = Callable[[Sequence[NamedFile]], None]
"""A function that is called with the model of each file before the first file is added."""

Outcomes = Iterator[tuple[int, PreparedFile | AddedFile] | None]


def tell_nobody(_: Sequence[NamedFile]) -> None:
    """The default for `Planned`."""


def add_many(
    paths: Iterable[Path],
    request: AddRequest,
    repository: Repository,
    progress: Progress,
    planned: Planned = tell_nobody,
    *,
    executor: Executor | None = None,
    batch: int = VERSIONS,
) -> AddedMany:
    """Add each file, and each checkpoint in a folder, as a model of its own; see `Registry.add_many`.

    Before the first file is read, raises `InvalidArgument` if there is no file, `NotFound` if the
    registry has no base, and the error of the path if only one was given and it is refused.
    Afterwards `StoppedMany` is raised after an interrupt, and `StorageError` if versions cannot be
    committed. What was prepared is committed before anything is raised.
    """
    if batch < 1:
        raise InvalidArgument(f"a batch has at least 1 version, not {batch}")
    if request.base is None:
        check_has_base(repository.catalog.bases())
    at_once: dict[Path, AddedFile] = {}
    files, repeats = _files(list(paths), at_once)
    named = named_files([path for path in files if path not in at_once], request.names, repository)
    planned(named)
    of_path = {file.path: file for file in named}
    to_prepare = {n: of_path[path] for n, path in enumerate(files) if path in of_path}
    done = Batch(repository, batch)
    done.outcomes |= {n: at_once[path] for n, path in enumerate(files) if path in at_once}

    def found() -> AddedMany:
        reached = [done.outcomes[n] for n in range(len(files)) if n in done.outcomes]
        rest = [path for n, path in enumerate(files) if n not in done.outcomes]
        return AddedMany(tuple(reached), tuple(repeats), tuple(rest))

    if executor is None:
        outcomes = _prepared_here(to_prepare, request, repository, progress)
    else:
        outcomes = spread(to_prepare, request, repository, executor)
    reached = len(done.outcomes)
    try:
        progress(FILES, reached, len(files))
        for outcome in outcomes:
            if outcome is None:
                done.commit_if_due()
                continue
            done.take(*outcome)
            reached += 1
            progress(FILES, reached, len(files))
        done.commit()
    except KeyboardInterrupt as error:
        with contextlib.suppress(KeyboardInterrupt):  # another one, which comes after the commit
            done.commit()
        raise StoppedMany(found()) from error
    except BaseException:
        done.commit()
        raise
    return found()


def _prepared_here(
    files: dict[int, NamedFile], request: AddRequest, repository: Repository, progress: Progress
) -> Outcomes:
    for number, file in files.items():
        yield number, prepare_file(file, request, repository, progress)


def _files(
    paths: Sequence[Path], at_once: dict[Path, AddedFile]
) -> tuple[list[Path], list[Repeat]]:
    """The files to add, in order, and repeats; a path without a checkpoint is put into `at_once`."""
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
            at_once[path] = refused(path, error)
    return each_once(files)
