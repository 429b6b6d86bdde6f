"""Work of a worker that dies, as the kernel kills one that takes too much memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from dsvd_registry.registry import WorkerProcesses


def die_then(work: Callable[..., Any], deaths: Path, most: int, stem: str, task: Any) -> Any:
    """Do the work, but die before it, `most` times in all, if it is that of the file with this stem.

    A file in the folder `deaths` counts each death.
    """
    if task.file.path.stem == stem and len(list(deaths.iterdir())) < most:
        (deaths / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(task)


class DyingWorkers(WorkerProcesses):
    """Real processes, whose work is that of `die_then`."""

    def __init__(self, count: int, deaths: Path, most: int, stem: str) -> None:
        super().__init__(count)
        self._how = deaths, most, stem

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(die_then, fn, *self._how, *args, **kwargs)
