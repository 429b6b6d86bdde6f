"""All that the package writes passes `fs.disk`, but for what SQLite does to its own files.

An audit hook of the interpreter sees every file that is opened for writing, named, renamed or removed,
whoever does it. Seen to fail with the `unlink` of `fs.names` going around `disk`.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry.errors import StorageError
from dsvd_registry.fs import disk

from .recording import CALLS
from .scenarios import SCENARIOS, prepare, run

CHANGES = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.utime",
           "os.symlink", "os.truncate", "shutil.rmtree", "shutil.move", "shutil.copyfile")  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_WATCHERS: list[Callable[[str, tuple[Any, ...]], None]] = []  # a hook cannot be taken out again


@pytest.fixture(scope="module")
def _hook() -> None:
    sys.addaudithook(lambda event, arguments: [watch(event, arguments) for watch in _WATCHERS])


@contextmanager
def watched(at: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The changes below the path `at`: through `disk`, and around it."""
    inside = threading.local()
    through: list[str] = []
    around: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
        else:
            changes = event in CHANGES
        if not changes or not str(arguments[0]).startswith(str(at)):
            return
        (through if getattr(inside, "disk", False) else around).append(f"{event} {arguments[0]}")

    def entering(call: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*arguments: Any, **named: Any) -> Any:
            inside.disk = True
            try:
                return call(*arguments, **named)
            finally:
                inside.disk = False

        return entered

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(disk, name, entering(getattr(disk, name)))
        _WATCHERS.append(watch)
        try:
            yield through, around
        finally:
            _WATCHERS.remove(watch)


@pytest.mark.usefixtures("_hook")
@pytest.mark.parametrize(
    "name",
    ["base add of a folder", "add", "import", "gc", "materialize --force of a folder", "export"],
)
def test_nothing_goes_around_it(tmp_path: Path, name: str) -> None:
    at = tmp_path / "at"
    at.mkdir()
    prepare(SCENARIOS[name], at)
    with watched(at) as (through, around):
        run(SCENARIOS[name], at)
    assert around == []
    assert len(through) >= 2


def test_every_call_is_recorded() -> None:
    """The tests of faults record and refuse every function of `disk`."""
    calls = {
        name
        for name, call in vars(disk).items()
        if callable(call) and call.__module__ == disk.__name__
    }
    assert calls == set(CALLS)


@pytest.mark.parametrize("refused", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY, None])
def test_full_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int | None) -> None:
    """On macOS the drive's cache is emptied too, where the filesystem knows how; else a plain sync.

    Seen to fail with each of the two left out.
    """
    asked: list[str] = []

    def fcntl(descriptor: int, command: int) -> int:
        assert command == 51
        asked.append("full")
        if refused is not None:
            raise OSError(refused, os.strerror(refused))
        return 0

    monkeypatch.setattr(disk, "FULL_SYNC", 51)
    monkeypatch.setattr(disk.fcntl, "fcntl", fcntl)
    monkeypatch.setattr(os, "fsync", lambda _: asked.append("plain"))
    with (tmp_path / "file").open("wb") as file:
        disk.sync(file.fileno())
    disk.sync_folder(tmp_path)
    assert asked == (["full"] * 2 if refused is None else ["full", "plain"] * 2)


def test_full_sync_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk is one: `fsync` after it might say that all is well.

    Seen to fail with a plain sync after any error.
    """

    def fcntl(descriptor: int, command: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at = tmp_path / "at"
    at.mkdir()
    prepare(SCENARIOS["note"], at)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "FULL_SYNC", 51)
        patch.setattr(disk.fcntl, "fcntl", fcntl)
        with pytest.raises(StorageError, match="Input/output"):
            run(SCENARIOS["note"], at)
    run(SCENARIOS["note"], at)
