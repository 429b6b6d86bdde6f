"""Another process that adds many files, and dies on the way."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from dsvd_registry import Registry
from dsvd_registry.progress import FILES


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
