"""The files of versions and bases as the server gives them: listed, tagged, and opened once for many."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .. import canonical
from ..catalog import BaseRecord, VersionRecord
from ..errors import NotFound
from ..registry.base_files import base_files, open_base_file
from ..registry.registry import Registry

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype
    from ..reconstruction.target_layout import LayoutName

Checkpoint = VersionRecord | BaseRecord
KEPT_OPEN, KEPT_LISTINGS = 64, 1024


@dataclass(frozen=True)
class Form:
    """The form in which the checkpoint of a version is asked for; see `Registry.materialize`."""

    tau: float | None = None
    dtype: FloatDtype | None = None
    layout: LayoutName | None = None


AS_ADDED = Form()


@dataclass(frozen=True)
class ServedFile:
    """A file: its path, size, recorded SHA-256 if there is one, and the tag that names its bytes."""

    path: str
    size: int
    sha256: str | None
    tag: str


class ReadableFile(Protocol):
    """An open file of which any thread may read any part."""

    def read_at(self, offset: int, size: int) -> bytes: ...

    def close(self) -> None: ...


def content_key(checkpoint: Checkpoint) -> str:
    """64 hexadecimal digits that stand for the files of a version or base, whatever its name."""
    if isinstance(checkpoint, BaseRecord):
        contents = ["base", checkpoint.digest, checkpoint.file]
    else:
        residual = checkpoint.residual
        contents = ["version", checkpoint.container, residual.sha256 if residual else ""]
    return hashlib.sha256(canonical.encode(contents)).hexdigest()


class Checkpoints:
    """The files of all versions and bases of a registry. Any thread may use it.

    Files stay open, and listings known, for the next request that asks for a part of them; of both
    the least recently used are given up.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, Form, str], _Kept] = OrderedDict()
        self._listings: OrderedDict[tuple[str, Form], tuple[ServedFile, ...]] = OrderedDict()

    def close(self) -> None:
        """Close every file that nobody reads."""
        with self._lock:
            self._give_up(0)

    def files(self, checkpoint: Checkpoint, form: Form = AS_ADDED) -> tuple[ServedFile, ...]:
        """The files of a version or base, by path, before a byte of them is made."""
        key = content_key(checkpoint), form
        with self._lock:
            if key in self._listings:
                self._listings.move_to_end(key)
                return self._listings[key]
        found = self._list(checkpoint, form)
        with self._lock:
            self._listings[key] = found
            while len(self._listings) > KEPT_LISTINGS:
                self._listings.popitem(last=False)
        return found

    def file(
        self, checkpoint: Checkpoint, path: str | None, form: Form = AS_ADDED
    ) -> ServedFile | None:
        """The file of that path, or with None the only file; None if there is no such file."""
        files = self.files(checkpoint, form)
        if path is None:
            return files[0] if len(files) == 1 else None
        return next((file for file in files if file.path == path), None)

    @contextlib.contextmanager
    def opened(
        self, checkpoint: Checkpoint, path: str, form: Form = AS_ADDED
    ) -> Iterator[ReadableFile]:
        """An open file. One in which an error was met is opened anew next time."""
        key = content_key(checkpoint), form, path
        with self._lock:
            kept = self._open.setdefault(key, _Kept())
            kept.users += 1
            self._open.move_to_end(key)
        try:
            with kept.opening:
                if kept.file is None:
                    kept.file = self._open_file(checkpoint, path, form)
            yield kept.file
        except Exception:
            with self._lock:
                if self._open.get(key) is kept:
                    del self._open[key]
                kept.is_given_up = True
            raise
        finally:
            with self._lock:
                kept.users -= 1
                if kept.is_given_up:
                    kept.close_if_unused()
                self._give_up(KEPT_OPEN)

    def _give_up(self, limit: int) -> None:
        unused = [key for key, kept in self._open.items() if kept.users == 0]
        for key in unused[: max(0, len(self._open) - limit)]:
            self._open.pop(key).close_if_unused()

    def _list(self, checkpoint: Checkpoint, form: Form) -> tuple[ServedFile, ...]:
        if isinstance(checkpoint, BaseRecord):
            files = base_files(checkpoint, self.registry.repository)
            return tuple(ServedFile(f.path, f.size, f.sha256, f.sha256) for f in files)
        entries = self.registry.result_files(
            checkpoint.ref, tau=form.tau, dtype=form.dtype, layout=form.layout
        )
        return tuple(
            ServedFile(
                entry.path,
                entry.size,
                entry.sha256,
                entry.sha256 or _tag(checkpoint, form, entry.path),
            )
            for entry in entries
        )

    def _open_file(self, checkpoint: Checkpoint, path: str, form: Form) -> ReadableFile:
        if isinstance(checkpoint, BaseRecord):
            return open_base_file(checkpoint, path, self.registry.repository)
        return self.registry.open_result(
            checkpoint.ref, path, tau=form.tau, dtype=form.dtype, layout=form.layout
        )


@dataclass
class _Kept:
    """A file that is or will be open, and the number of those who use it."""

    opening: threading.Lock = field(default_factory=threading.Lock)
    file: ReadableFile | None = None
    users: int = 0
    is_given_up: bool = False

    def close_if_unused(self) -> None:
        if self.users == 0 and self.file is not None:
            self.file.close()
            self.file = None


def _tag(version: VersionRecord, form: Form, path: str) -> str:
    """The tag of a file without a recorded SHA-256: what its bytes are made from, which decides them."""
    made_from = [content_key(version), str(form.tau), form.dtype or "", form.layout or "", path]
    return hashlib.sha256(canonical.encode(made_from)).hexdigest()


def not_a_file(checkpoint: Checkpoint, path: str | None) -> NotFound:
    """The error for a path that a version or base does not have."""
    name = checkpoint.name if isinstance(checkpoint, BaseRecord) else checkpoint.ref
    if path is None:
        return NotFound(f"{name} has several files", "Name one of them after a slash.")
    return NotFound(f"{name} has no such file", "The tree of the model lists its files.")
