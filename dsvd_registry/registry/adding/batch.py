"""Batches of prepared files: many versions become one event, since each event takes its time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from ..repository import Repository
from .commit import commit_all
from .file_outcomes import AddedFile
from .prepare_file import PreparedFile, added_file

VERSIONS = 100  # of one batch, at most
SECONDS = 2.0  # after which even a smaller batch is committed


class Batch:
    """The prepared files that are not committed yet, and the outcomes of those that are.

    A batch is committed when it is full, or when the last commit was some seconds ago: what takes long
    to prepare is committed at once, and a crash loses no more than was prepared in these seconds.
    """

    def __init__(self, repository: Repository, most: int = VERSIONS) -> None:
        self._repository, self._most = repository, most
        self._waiting: dict[int, PreparedFile] = {}
        self._committing = threading.Lock()
        self._failure: BaseException | None = None
        self._committed_at = time.monotonic()
        self.outcomes: dict[int, AddedFile] = {}

    def take(self, number: int, outcome: PreparedFile | AddedFile) -> None:
        """Take what became of file `number`."""
        if isinstance(outcome, AddedFile):
            self.outcomes[number] = outcome
        else:
            self._waiting[number] = outcome
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit a batch that is full, or old enough."""
        is_old = time.monotonic() - self._committed_at >= SECONDS
        if self._waiting and (is_old or len(self._waiting) >= self._most):
            self.commit()

    def commit(self) -> None:
        """Commit what is waiting. Interrupts are raised after that, so that the outcomes are known."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                with ThreadPoolExecutor(1) as thread:  # which no interrupt reaches
                    thread.submit(self._commit).result()
                break
            except KeyboardInterrupt as error:  # the thread may still be at work: wait for it again
                interrupt = error
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if interrupt is not None:
            raise interrupt

    def _commit(self) -> None:
        with self._committing:  # who comes second finds nothing waiting
            waiting, self._waiting = self._waiting, {}
            if not waiting:
                return
            try:
                additions = commit_all([one.addition for one in waiting.values()], self._repository)
                for (number, file), addition in zip(waiting.items(), additions, strict=True):
                    self.outcomes[number] = added_file(file, addition)
            except BaseException as error:  # kept, as an interrupt may end the wait for it
                self._failure = error
            self._committed_at = time.monotonic()
