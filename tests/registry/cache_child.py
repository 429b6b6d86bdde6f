"""The work of other processes on a cache."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import torch

from dsvd_registry import Registry
from dsvd_registry.hashing import sha256_file


def ask(
    reports: Connection, root: Path, cache: Path, limit: int, asked: list[tuple[str, float | None]]
) -> None:
    """Ask for each version at its tau; send its path, and the SHA-256 of what is there then."""
    torch.set_num_threads(1)
    with Registry.open(root) as registry:
        for ref, tau in asked:
            path = registry.path(ref, tau=tau, cache=cache, limit=limit)
            reports.send((str(path), sha256_file(path)))


def ask_only(
    reports: Connection, root: Path, cache: Path, limit: int, tau: float, times: int
) -> None:
    """Ask for `subject` at `tau`, over and over, and look at nothing."""
    torch.set_num_threads(1)
    with Registry.open(root) as registry:
        for _ in range(times):
            registry.path("subject", tau=tau, cache=cache, limit=limit)
    reports.send(("asked", times))
