"""The work of other processes in these tests, forked from one that has imported every module."""

from __future__ import annotations

import functools
import io
import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine, event

from dsvd_registry import Registry, fs
from dsvd_registry.encoding import container_builder
from dsvd_registry.errors import DsvdError
from dsvd_registry.reconstruction import reconstruction, write_result
from dsvd_registry.registry import signing
from dsvd_registry.registry.adding import add as adding
from dsvd_registry.registry.exchange import import_export
from dsvd_registry.registry.upkeep import residuals

IMPORTED = (
    container_builder,
    write_result,
    reconstruction,
    adding,
    import_export,
    residuals,
    signing,
)

Additions = list[tuple[Path, dict[str, Any]]]


def add(
    reports: Connection,
    root: Path,
    additions: Additions,
    kill_at: int | None = None,
    disk: int | None = None,
) -> None:
    """Add to a registry, and send each ref, or the error's type and text; at last (None, steps).

    `kill_at`: the number of the step at which the process kills itself. `disk`: how long a file
    may become, as on a disk that is full.
    """
    torch.set_num_threads(1)
    count = count_steps(kill_at)
    if disk is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, resource.RLIM_INFINITY))
    try:
        with Registry.open(root) as registry:
            for source, arguments in additions:
                reports.send(("added", registry.add(source, **arguments).ref))
    except DsvdError as error:
        reports.send((type(error).__name__, str(error)))
    reports.send((None, count()))


def create(
    reports: Connection,
    root: Path,
    base: Path,
    additions: Additions,
    kill_at: int | None = None,
) -> None:
    """Make a registry unless it exists and add to it, as a user does after a crash."""
    torch.set_num_threads(1)
    count = count_steps(kill_at)
    there = (root / "registry.json").exists()
    with Registry.open(root) if there else Registry.init(root) as registry:
        registry.add_base("base", base)
        for source, arguments in additions:
            reports.send(("added", registry.add(source, **arguments).ref))
    reports.send((None, count()))


def materialize(reports: Connection, root: Path, out: Path, disk: int) -> None:
    """Materialise `subject`, with files of at most `disk` bytes."""
    torch.set_num_threads(1)
    with Registry.open(root) as registry:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, resource.RLIM_INFINITY))
        try:
            registry.materialize("subject", out)
        except DsvdError as error:
            reports.send((type(error).__name__, str(error)))


def import_container(reports: Connection, root: Path, file: Path, kill_at: int | None) -> None:
    """Import a file, and send the number of steps."""
    torch.set_num_threads(1)
    count = count_steps(kill_at)
    with Registry.open(root) as registry:
        registry.import_container(file)
    reports.send((None, count()))


def counting_commits(step: Callable[[], None]) -> type[sqlite3.Connection]:
    """A connection to SQLite that takes a step before it commits."""

    class Counted(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement == "COMMIT":
                step()
            return super().execute(statement, *values)

    return Counted


def count_steps(kill_at: int | None) -> Callable[[], int]:
    """Count every step that changes a file, and die before the one that is numbered `kill_at`."""
    steps = 0

    def step(*_: object) -> None:
        nonlocal steps
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            step()
            return function(*arguments, **named)

        return counted

    for name in ("fsync", "link", "unlink", "rename", "replace", "mkdir", "chmod", "utime"):
        setattr(os, name, counting(getattr(os, name)))
    write, write_at, open_file = fs.NewFile.write, fs.NewFile.write_at, io.open

    def write_by_halves(file: fs.NewFile, data: fs.Bytes) -> None:
        half = len(data) // 2
        write(file, data[:half])
        file.flush()
        step()
        write(file, data[half:])

    def write_at_by_halves(file: fs.NewFile, position: int, data: memoryview) -> None:
        half = len(data) // 2
        write_at(file, position, data[:half])
        step()
        write_at(file, position + half, data[half:])

    def open_counted(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if "x" in mode or "w" in mode:
            step()
        return open_file(file, mode, *arguments, **named)

    fs.NewFile.write = write_by_halves  # type: ignore[method-assign]
    fs.NewFile.write_at = write_at_by_halves  # type: ignore[method-assign]
    io.open = open_counted  # type: ignore[assignment]
    event.listen(Engine, "commit", step)  # of a new catalog's tables
    sqlite3.connect = functools.partial(sqlite3.connect, factory=counting_commits(step))  # type: ignore[assignment]
    return lambda: steps


def push(reports: Connection, root: Path, remote: str) -> None:
    """Push all versions, and send how many the other registry has of them, or the error."""
    torch.set_num_threads(1)
    try:
        with Registry.open(root) as registry:
            found = registry.push(remote).versions
            reports.send(("pushed", sum(version.arrived is not None for version in found)))
    except DsvdError as error:
        reports.send((type(error).__name__, str(error)))
