"""Every operation on disk and database that a command makes, recorded by an audit hook."""

from __future__ import annotations

import functools
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry.catalog import replay


class _Copier:
    """Copies files; two names of one file are that in the copy, too."""

    def __init__(self) -> None:
        self._copies: dict[int, str] = {}

    def __call__(self, path: str, target: str) -> None:
        first = self._copies.setdefault(os.stat(path).st_ino, target)  # noqa: PTH116
        if first == target:
            shutil.copy2(path, target)
        else:
            os.link(first, target)


class Recorder:
    """The operations on disk and database, named as in the text; a copy of the folder before each."""

    def __init__(self, registry: Path, copies: Path) -> None:
        self.registry, self.copies = registry, copies
        self.steps: list[str] = []
        self.on = False
        self._fsync, self._connect = os.fsync, sqlite3.connect

    def step(self, name: str) -> None:
        if not self.on:
            return
        self.on = False  # what copying does is not to be recorded
        if not (self.steps and self.steps[-1].startswith("sync")):  # which changes nothing to copy
            without_locks = shutil.ignore_patterns("*-shm")
            copy = self.copies / f"{len(self.steps)}"
            shutil.copytree(self.registry, copy, ignore=without_locks, copy_function=_Copier())
        self.steps.append(name)
        self.on = True

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & os.O_CREAT:
            self.step(f"create {self.shown(arguments[0])}")
        elif event == "os.remove" and os.path.lexists(arguments[0]):
            self.step(f"unlink {self.shown(arguments[0])}")
        elif event in ("os.mkdir", "os.chmod", "os.utime"):
            self.step(f"{event[3:]} {self.shown(arguments[0])}")
        elif event == "os.symlink":
            self.step(f"symlink {self.shown(arguments[1])}")
        elif event in ("os.link", "os.rename"):
            self.step(f"{event[3:]} {self.shown(arguments[0])} {self.shown(arguments[1])}")

    def shown(self, path: str | Path) -> str:
        path = Path(path)
        root = self.registry if path.is_relative_to(self.registry) else self.registry.parent
        text = path.relative_to(root).as_posix()
        text = re.sub(r"\.dsvd-tmp-[0-9a-f]{16}", "T", text)
        text = re.sub(r"objects/[0-9a-f]{2}", "objects/ab", text)
        text = re.sub(r"[0-9a-f]{64}$", "A", text)
        text = re.sub(r"^mine/mine\.safetensors$", "mine/X", text)
        text = re.sub(r"X\.(sig|dsvdr|dsvdo|dsvdm)$", "X", text)
        return re.sub(r"\d{9}\.json", "E", text)

    def fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        above = self.registry.parent
        paths = (above, *above.glob("*"), *self.registry.rglob("*"))
        same = [path for path in paths if os.path.samestat(path.stat(), status)]
        self.step(f"sync {self.shown(same[0])}")
        self._fsync(descriptor)

    def connect(self, *arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._connect(*arguments, **named)
        if arguments[0] == ":memory:":  # with which `verify` compares
            return connection
        if arguments[0] == ":memory:":  # a copy to compare with
            return connection
        state = {"writes": False, "rows": False}

        def trace(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE":
                state.update(writes=True, rows=False)
                self.step("lock")
            elif re.match(rf"\s*(INSERT INTO|UPDATE|DELETE FROM) ({_LOGGED})\b", statement):
                if not state["rows"]:
                    self.step("rows")
                state["rows"] = True
            elif (
                statement.startswith("UPDATE log_position SET position = ")
                and "sha256" in statement
            ):
                # Emptied by a rebuild, it counts from 0 again.
                if " = 0," not in statement:
                    self.step("position")
            elif statement == "COMMIT" and state["writes"]:
                state["writes"] = False
                self.step("commit")

        connection.set_trace_callback(trace)
        return connection


_LOGGED = "|".join(replay.TABLES)
_RECORDERS: list[Recorder] = []  # at most one


@functools.cache
def install_hook() -> None:
    """Once in a process: a hook cannot be taken out again."""
    sys.addaudithook(lambda event, arguments: [one.audit(event, arguments) for one in _RECORDERS])


@contextmanager
def recording(registry: Path, copies: Path) -> Iterator[Recorder]:
    recorder = Recorder(registry, copies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", recorder.fsync)
        patch.setattr(sqlite3, "connect", recorder.connect)
        _RECORDERS.append(recorder)
        try:
            yield recorder
        finally:
            _RECORDERS.remove(recorder)
