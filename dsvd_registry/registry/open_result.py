"""A version's full checkpoint as files that can be sought, of which only the bytes read are made."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import VersionRecord
from ..errors import NotFound
from ..hashing import sha256
from ..progress import silent
from .materialize import materialize
from .repository import Repository

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype
    from ..reconstruction.target_layout import LayoutName


@dataclass(frozen=True)
class ResultEntry:
    """A file of a full checkpoint: its path, its size in bytes, its SHA-256 if one is recorded."""

    path: str
    size: int
    sha256: str | None


class OpenResult(io.RawIOBase):
    """A file of a full checkpoint, read-only and seekable."""

    def __init__(self, entry: ResultEntry, data: bytes) -> None:
        self.entry = entry
        self._bytes = io.BytesIO(data)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.entry.size

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the file; None where none is recorded."""
        return self.entry.sha256

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._bytes.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._bytes.readinto(buffer)

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer at the end of the file; any thread may call this."""
        return self._bytes.getvalue()[offset : offset + size]


def _all(
    version: VersionRecord,
    repository: Repository,
    tau: float | None,
    dtype: FloatDtype | None,
    layout: LayoutName | None,
) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result"
        materialize(
            version,
            path,
            repository,
            tau=tau,
            dtype=dtype,
            layout=layout,
            like=None,
            replace=False,
            progress=silent,
        )
        if path.is_file():
            return {"model.safetensors": path.read_bytes()}
        files = (file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def result_files(
    version: VersionRecord,
    repository: Repository,
    *,
    tau: float | None,
    dtype: FloatDtype | None,
    layout: LayoutName | None,
) -> tuple[ResultEntry, ...]:
    """The files of a version's full checkpoint, by path; see `Registry.result_files`."""
    found = _all(version, repository, tau, dtype, layout)
    recorded = tau is None and dtype is None and layout is None
    return tuple(
        ResultEntry(path, len(data), sha256(data) if recorded else None)
        for path, data in sorted(found.items())
    )


def open_result(
    version: VersionRecord,
    path: str | None,
    repository: Repository,
    *,
    tau: float | None,
    dtype: FloatDtype | None,
    layout: LayoutName | None,
) -> OpenResult:
    """A file of a version's full checkpoint; see `Registry.open_result`."""
    entries = result_files(version, repository, tau=tau, dtype=dtype, layout=layout)
    for entry in entries:
        if entry.path == path or (path is None and len(entries) == 1):
            return OpenResult(entry, _all(version, repository, tau, dtype, layout)[entry.path])
    raise NotFound(f"{version.ref} has no file {path!r}")
