"""A version's full checkpoint as files that can be sought, of which only the bytes read are made."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack

from ...catalog import VersionRecord
from ...errors import BaseMismatch, ContainerError, InvalidArgument, NotFound, RegistryError
from ...ranged_file import SeekableStream
from ...reconstruction.range_reader import RangeReader
from ..repository import Repository
from ..upkeep.residuals import at_tau, residual_errors
from .result_pool import OpenedVersion, ResultEntry, ResultForm, ResultPool

SHOWN = 8  # paths in the message that names files


class OpenResult(SeekableStream):
    """A file of a full checkpoint, read-only and seekable.

    `read_at` may be called by several threads at once; the other methods share one position. Reading
    raises `BaseMismatch`, `ContainerError` or `RegistryError` for damage, and never gives a byte that
    was made of what was not checked.
    """

    def __init__(
        self,
        entry: ResultEntry,
        reader: RangeReader,
        errors: Callable[[], AbstractContextManager[None]],
        opened: ExitStack,
    ) -> None:
        self.entry = entry
        self._reader, self._errors, self._opened = reader, errors, opened

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.entry.size

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the file; None where none is recorded."""
        return self.entry.sha256

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        memory = memoryview(buffer).cast("B")
        done = 0
        for part in self._parts(self._position, len(memory)):
            memory[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done

    def readall(self) -> bytes:
        data = self.read_at(self._position, self.size)
        self._position += len(data)
        return data

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer at the end of the file; any thread may call this."""
        return bytes(self.view_at(offset, size))

    def view_at(self, offset: int, size: int) -> memoryview:
        """The bytes of `read_at`, without a copy where they lie in one part of what was computed."""
        parts = list(self._parts(offset, size))
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def close(self) -> None:
        """Close the file. The last of a version to be closed lets go of the files it is made from."""
        if not self.closed:
            self._opened.close()
        super().close()

    def _parts(self, offset: int, size: int) -> Iterator[memoryview]:
        if self.closed:
            raise ValueError("read of a closed file")
        if offset < 0 or size < 0:
            raise ValueError(f"{size} bytes from {offset} on are no part of a file")
        begin, end = min(offset, self.size), min(offset + size, self.size)
        with self._errors():
            yield from self._reader.parts(begin, end)


def open_result(
    version: VersionRecord,
    path: str | None,
    repository: Repository,
    pool: ResultPool,
    form: ResultForm,
) -> OpenResult:
    """A file of a version's full checkpoint; see `Registry.open_result`."""
    with ExitStack() as stack:
        opened = stack.enter_context(pool.use(version, form))
        entry = _entry(version, path, opened.entries)
        reader = pool.reader(opened.plan(entry.path))
        errors = functools.partial(_errors, version, repository, pool, form, opened)
        return OpenResult(entry, reader, errors, stack.pop_all())


def _entry(
    version: VersionRecord, path: str | None, entries: tuple[ResultEntry, ...]
) -> ResultEntry:
    if path is None and len(entries) > 1:
        raise InvalidArgument(
            f"{version.ref} is a folder of {len(entries)} files, and none of them was named",
            f"Name one: {_named(entries)}.",
        )
    for entry in entries:
        if path in (None, entry.path):
            return entry
    raise NotFound(f"{version.ref} has no file {path!r}", f"It has {_named(entries)}.")


def _named(entries: tuple[ResultEntry, ...]) -> str:
    """The paths of some files, as text for a message."""
    shown = ", ".join(entry.path for entry in entries[:SHOWN])
    others = len(entries) - SHOWN
    return f"{shown} and {others} others" if others > 0 else shown


@contextlib.contextmanager
def _errors(
    version: VersionRecord,
    repository: Repository,
    pool: ResultPool,
    form: ResultForm,
    opened: OpenedVersion,
) -> Iterator[None]:
    """Name the damaged object in errors, and have the next reader open the version anew."""
    residual = at_tau(version, form.tau).residual
    try:
        with residual_errors(version, residual, repository):
            yield
    except CancelledError as error:  # its work was dropped, because the files it is made of close
        raise ValueError("the registry, or the file, was closed while it was read") from error
    except (BaseMismatch, ContainerError, RegistryError):
        pool.expel(opened)
        raise
