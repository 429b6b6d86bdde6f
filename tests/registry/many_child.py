"""Another process that adds many files, and dies on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from dsvd_registry import Registry
from dsvd_registry.errors import DsvdError
from dsvd_registry.progress import FILES
from dsvd_registry.registry.adding import batch
from dsvd_registry.registry.adding.commit import Addition, PreparedAddition
from dsvd_registry.registry.repository import Repository

from .child import count_steps


def add_many(
    reports: Connection, root: Path, paths: list[Path], file: int, stage: str, half: bool
) -> None:
    """SIGKILL to itself in file number `file`: when `stage` begins, or is half done."""
    torch.set_num_threads(1)
    reached = 0

    def progress(name: str, done: int, total: int) -> None:
        nonlocal reached
        if name == FILES:
            reached = done
        elif name == stage and reached == file and (not half or 2 * done >= total):
            os.kill(os.getpid(), signal.SIGKILL)

    with Registry.open(root) as registry:
        registry.add_many(paths, base="base", batch=1, progress=progress)
    reports.send(("survived", None))


def add_batch(reports: Connection, root: Path, paths: list[Path], kill_at: int | None) -> None:
    """Add files in one batch. Send the steps before its commit, the refs, and the steps in all.

    `kill_at`: the number of the step before which the process kills itself.
    """
    torch.set_num_threads(1)
    batch.SECONDS = 3600.0
    steps, commit_all = count_steps(kill_at), batch.commit_all

    def told(
        prepared: Sequence[PreparedAddition], repository: Repository
    ) -> list[Addition | DsvdError]:
        reports.send(("prepared", steps()))
        return commit_all(prepared, repository)

    batch.commit_all = told
    with Registry.open(root) as registry:
        found = registry.add_many(paths, base="base")
        reports.send(("added", [file.ref for file in found.added]))
    reports.send((None, steps()))
