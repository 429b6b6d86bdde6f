"""The changes of the disk by a command, in order: calls of `fs.disk`, and the catalog at each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from dsvd_registry.fs import disk

CATALOG = "registry/catalog.sqlite"

Catalog = dict[str, bytes]


@dataclass(frozen=True)
class Operation:
    """One call. Paths are relative to the recorded folder; `position` is None for what is appended."""

    kind: str
    path: str
    target: str = ""
    data: bytes = b""
    position: int | None = None


@dataclass
class Recording:
    """`catalogs[i]`: the files of the database before operation i; the last: at the end."""

    operations: list[Operation] = field(default_factory=list)
    catalogs: list[Catalog] = field(default_factory=list)


def catalog_files(at: Path) -> Catalog:
    """The database as SQLite left it on disk; the -shm file is made anew from the others."""
    found = at.glob(f"{CATALOG}*")
    return {
        path.relative_to(at).as_posix(): path.read_bytes()
        for path in found
        if not path.name.endswith("-shm")
    }


class _Written:
    """A new file that tells what is written to it."""

    def __init__(self, handle: BinaryIO, tell: Callable[[bytes], None]) -> None:
        self._handle = handle
        self._tell = tell

    def write(self, data: Any) -> int:
        self._tell(bytes(data))
        return self._handle.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


@contextmanager
def recording(at: Path) -> Iterator[Recording]:
    """Record all that is done to the disk below `at`."""
    made = Recording()
    open_files: dict[int, str] = {}
    real = {name: getattr(disk, name) for name in CALLS}
    seen: list[tuple[object, Catalog]] = []

    def catalog() -> Catalog:
        stamps = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(at.glob(f"{CATALOG}*"))
            if not path.name.endswith("-shm")
        ]
        if not seen or seen[-1][0] != stamps:
            seen.append((stamps, catalog_files(at)))
        return seen[-1][1]

    def shown(path: Path) -> str:
        return path.absolute().relative_to(at).as_posix()

    def note(
        kind: str, path: str, target: str = "", data: bytes = b"", position: int | None = None
    ) -> None:
        made.catalogs.append(catalog())
        made.operations.append(Operation(kind, path, target, data, position))

    def create(path: Path, *, readable: bool = False) -> Any:
        note("create", shown(path))
        handle = real["create"](path, readable=readable)
        open_files[handle.fileno()] = shown(path)
        return _Written(handle, lambda data: note("write", shown(path), data=data))

    def open_lock(path: Path) -> int:
        if not path.exists():
            note("create", shown(path))
        return int(real["open_lock"](path))

    def write_at(descriptor: int, data: memoryview, position: int) -> int:
        note("write", open_files[descriptor], data=bytes(data), position=position)
        return int(real["write_at"](descriptor, data, position))

    def sync(descriptor: int) -> None:
        note("sync", open_files[descriptor])
        real["sync"](descriptor)

    def sync_folder(folder: Path) -> None:
        note("sync_folder", shown(folder))
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            real["sync"](descriptor)
        finally:
            os.close(descriptor)

    def of_one(kind: str) -> Callable[[Path], None]:
        def called(path: Path) -> None:
            note(kind, shown(path))
            real[kind](path)

        return called

    def of_two(kind: str) -> Callable[[Path, Path], None]:
        def called(path: Path, target: Path) -> None:
            note(kind, shown(path), shown(target))
            real[kind](path, target)

        return called

    def set_mode(path: Path, mode: int) -> None:
        note("set_mode", shown(path), data=b"%o" % mode)
        real["set_mode"](path, mode)

    def set_mtime(path: Path, mtime_ns: int) -> None:
        note("set_mtime", shown(path))
        real["set_mtime"](path, mtime_ns)

    def symlink(path: Path, leads_to: Path) -> None:
        note("symlink", shown(path), data=os.fsencode(leads_to))
        real["symlink"](path, leads_to)

    def remove_tree(path: Path) -> None:
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                note("unlink", shown(Path(folder, name)))
                Path(folder, name).unlink()
            note("unlink", shown(Path(folder)))
            Path(folder).rmdir()

    ours: dict[str, Any] = {
        "create": create,
        "open_lock": open_lock,
        "write_at": write_at,
        "sync": sync,
        "sync_folder": sync_folder,
        "remove_tree": remove_tree,
        "set_mode": set_mode,
        "set_mtime": set_mtime,
        "symlink": symlink,
    }
    for kind in ("link", "rename", "replace"):
        ours[kind] = of_two(kind)
    for kind in ("unlink", "make_folder", "make_read_only", "make_writable", "renew_time"):
        ours[kind] = of_one(kind)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(disk, name, ours[name])
        yield made
    made.catalogs.append(catalog())


CALLS = (
    "create",
    "open_lock",
    "write_at",
    "sync",
    "sync_folder",
    "link",
    "rename",
    "replace",
    "unlink",
    "make_folder",
    "remove_tree",
    "make_read_only",
    "make_writable",
    "renew_time",
    "set_mode",
    "set_mtime",
    "symlink",
)
