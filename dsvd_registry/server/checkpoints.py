"""The files of versions and bases as the server gives them: listed, tagged and opened."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .. import canonical
from ..catalog import BaseRecord, VersionRecord
from ..closing import Closing
from ..errors import NotFound
from ..registry.registry import Registry
from ..registry.results.base_files import BaseFile, base_files, open_base_file
from ..registry.results.result_pool import ResultForm
from ..registry.results.shared_open import SharedOpen

Checkpoint = VersionRecord | BaseRecord
AS_ADDED = ResultForm()
IDLE_BASE_FILES = 16


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


def content_key(checkpoint: Checkpoint) -> str:
    """64 hexadecimal digits that stand for the files of a version or base, whatever its name."""
    if isinstance(checkpoint, BaseRecord):
        return _digest("base", checkpoint.digest, checkpoint.file)
    residual = checkpoint.residual
    return _digest("version", checkpoint.container, residual.sha256 if residual else "")


class Checkpoints(Closing):
    """The files of all versions and bases of a registry. Any thread may use it.

    The registry keeps versions open that were read lately. Files of bases are kept open here, because
    the next reader need not hash them again.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._base_files: SharedOpen[tuple[str, str], BaseFile] = SharedOpen(IDLE_BASE_FILES)

    def close(self) -> None:
        """Close the files of bases."""
        self._base_files.close()

    def files(self, checkpoint: Checkpoint, form: ResultForm = AS_ADDED) -> tuple[ServedFile, ...]:
        """The files of a version or base, by path, before a byte of them is made."""
        if isinstance(checkpoint, BaseRecord):
            files = base_files(checkpoint, self.registry.repository)
            return tuple(ServedFile(f.path, f.size, f.sha256, f.sha256) for f in files)
        entries = self.registry.result_files(
            checkpoint.ref, tau=form.tau, dtype=form.dtype, layout=form.layout
        )
        return tuple(
            ServedFile(e.path, e.size, e.sha256, e.sha256 or self._tag(checkpoint, form, e.path))
            for e in entries
        )

    def file(
        self, checkpoint: Checkpoint, path: str | None, form: ResultForm = AS_ADDED
    ) -> ServedFile:
        """The file of that path, or with None the only file. Raises `NotFound`."""
        files = self.files(checkpoint, form)
        name = checkpoint.name if isinstance(checkpoint, BaseRecord) else checkpoint.ref
        if path is None and len(files) > 1:
            raise NotFound(f"{name} has {len(files)} files", "Name one of them after a slash.")
        for file in files:
            if path in (None, file.path):
                return file
        raise NotFound(f"{name} has no such file", f"GET /api/v1/versions/{name}/files lists them.")

    @contextlib.contextmanager
    def opened(
        self, checkpoint: Checkpoint, path: str, form: ResultForm = AS_ADDED
    ) -> Iterator[ReadableFile]:
        """An open file."""
        if isinstance(checkpoint, BaseRecord):
            repository = self.registry.repository
            key = content_key(checkpoint), path
            with self._base_files.use(
                key, lambda: open_base_file(checkpoint, path, repository)
            ) as f:
                yield f
            return
        with self.registry.open_result(
            checkpoint.ref, path, tau=form.tau, dtype=form.dtype, layout=form.layout
        ) as file:
            yield file

    def _tag(self, version: VersionRecord, form: ResultForm, path: str) -> str:
        """The tag of a file without a recorded SHA-256: all that its bytes are made from."""
        repository = self.registry.repository
        names_from = "" if form.layout is None else content_key(repository.base_of(version))
        asked = (str(form.tau), form.dtype or "", form.layout or "")
        return _digest(content_key(version), names_from, *asked, path)


def _digest(*texts: str) -> str:
    return hashlib.sha256(canonical.encode(list(texts))).hexdigest()
