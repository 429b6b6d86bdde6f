"""The spreading of files over the workers of an executor; a file whose worker dies is tried again."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import replace

from ...errors import DsvdError, StorageError
from ..repository import Repository
from .add_request import AddRequest
from .file_outcomes import AddedFile, refused, unforeseen
from .model_names import NamedFile
from .prepare_file import PreparedFile
from .worker import Address, Task, do

ATTEMPTS = 3
AHEAD = 256  # tasks that are handed to the executor at a time
PAUSE = 0.5  # seconds after which the caller is asked, if no task has ended

_Ended = tuple[int, PreparedFile | AddedFile]


def spread(
    files: Mapping[int, NamedFile],
    request: AddRequest,
    repository: Repository,
    executor: Executor,
) -> Iterator[_Ended | None]:
    """The outcome of each file, in the order in which that is known; None when a pause was long.

    A file whose worker dies is tried again, up to three times in all. If the iteration ends early,
    what has not begun is not begun.
    """
    address = Address.of(repository)
    waiting = deque((number, 1) for number in files)
    running: dict[Future[PreparedFile | AddedFile], tuple[int, int]] = {}
    try:
        while waiting or running:
            for number, attempt in _taken(waiting, AHEAD - len(running)):
                file = files[number]
                # A worker may have another working folder.
                task = Task(address, replace(file, path=file.path.absolute()), request)
                running[_submitted(executor, task)] = number, attempt
            ended, _ = wait(running, PAUSE, FIRST_COMPLETED)
            if not ended:
                yield None
            for future in ended:
                number, attempt = running.pop(future)
                outcome = _outcome(future, files[number], attempt)
                if outcome is None:
                    waiting.appendleft((number, attempt + 1))
                else:
                    yield number, outcome
    finally:
        for future in running:
            future.cancel()


def _taken(waiting: deque[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    return [waiting.popleft() for _ in itertools.repeat(None, min(most, len(waiting)))]


def _submitted(executor: Executor, task: Task) -> Future[PreparedFile | AddedFile]:
    try:
        return executor.submit(do, task)
    except RuntimeError as error:  # broken, or shut down
        failed: Future[PreparedFile | AddedFile] = Future()
        failed.set_exception(error)
        return failed


def _outcome(
    future: Future[PreparedFile | AddedFile], file: NamedFile, attempt: int
) -> PreparedFile | AddedFile | None:
    """The outcome of a file; None if it is to be tried again."""
    try:
        outcome = future.result()
        if isinstance(outcome, PreparedFile):
            return replace(outcome, file=file)
        return replace(outcome, path=file.path)
    except BrokenExecutor as error:
        if attempt < ATTEMPTS:
            return None
        return refused(
            file.path,
            StorageError(
                f"{file.path}: the worker that had it died, {ATTEMPTS} times: {error}",
                "There may be too little memory for so many workers: run it again with fewer.",
            ),
        )
    except DsvdError as error:
        return refused(file.path, error)
    except Exception as error:
        return unforeseen(file.path, error)
