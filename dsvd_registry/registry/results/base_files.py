"""The files of a base as they were added, opened for reading; no byte is given that was not checked."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

from ...catalog import BaseRecord
from ...checkpoint.folder_listing import listing_digest
from ...checkpoint.tree import ListedFile
from ...closing import Closing
from ...errors import BaseMismatch, NotFound
from ...fs import storage_errors
from ...hashing import READ_CHUNK
from ...progress import silent
from ..adding.fingerprint import listed_files
from ..repository import Repository

SINGLE_FILES = {"safetensors": "model.safetensors", "pickle": "model.ckpt"}
"""The path of a base that is one file, by its format."""


def base_files(base: BaseRecord, repository: Repository) -> tuple[ListedFile, ...]:
    """The files of a base, by path; those of a linked folder are hashed unless they are known.

    Raises `BaseMismatch` if a linked folder is gone or has other files than when it was added.
    """
    if not base.is_folder:
        return (ListedFile(SINGLE_FILES[base.format], base.file, base.size),)
    if base.link is None:
        return repository.listing(base)
    with repository.open_base_checkpoint(base, repository.manifest(base)) as checkpoint:
        assert checkpoint.tree is not None
        listed = listed_files(checkpoint.tree, repository.catalog, silent)
    if listing_digest(listed) != base.file:
        raise BaseMismatch(
            f"the folder {base.link} of the base {base.name!r} has changed since it was added",
            "Put its files back, or add the base again with `dsvd base add`.",
        )
    return tuple(sorted(listed, key=lambda file: file.path))


def open_base_file(base: BaseRecord, path: str, repository: Repository) -> BaseFile:
    """Open a file of `base_files` by its path. Raises `NotFound`, and as `base_files`."""
    for file in base_files(base, repository):
        if file.path == path:
            return BaseFile(_place(base, file, repository), file, base.name)
    raise NotFound(f"the base {base.name!r} has no file {path!r}")


def _place(base: BaseRecord, file: ListedFile, repository: Repository) -> Path:
    if base.link is None:
        return repository.objects.local_file(file.sha256)
    if not base.is_folder:
        return base.link
    with repository.open_base_checkpoint(base, repository.manifest(base)) as checkpoint:
        assert checkpoint.tree is not None
        return checkpoint.tree.places[file.path]


class BaseFile(Closing):
    """An open file of a base. Any thread may read it.

    The whole file is hashed before its first byte is given, and again if its size or one of its times
    has changed since.
    """

    def __init__(self, place: Path, file: ListedFile, base: str) -> None:
        self.size, self.sha256 = file.size, file.sha256
        self._place, self._base = place, base
        self._one_at_a_time = threading.Lock()
        self._checked: _State | None = None
        with storage_errors(place):
            self._file: BinaryIO = place.open("rb", buffering=0)

    def close(self) -> None:
        self._file.close()

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on, fewer at the end of the file. Raises `BaseMismatch`."""
        with storage_errors(self._place):
            while True:
                data = os.pread(self._file.fileno(), max(0, min(size, self.size - offset)), offset)
                # The state is taken after the bytes: if it is the checked one, so were they.
                if self._state() == self._checked:
                    return data
                self._check()

    def _state(self) -> _State:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def _check(self) -> None:
        with self._one_at_a_time:
            before = self._state()
            if before == self._checked:
                return
            digest, offset = hashlib.sha256(), 0
            while chunk := os.pread(self._file.fileno(), READ_CHUNK, offset):
                digest.update(chunk)
                offset += len(chunk)
            if digest.hexdigest() != self.sha256:
                raise BaseMismatch(
                    f"the base {self._base!r} is damaged: {self._place} has the SHA-256 "
                    f"{digest.hexdigest()}, not {self.sha256}",
                    "Restore that file, or add the base again with `dsvd base add`.",
                )
            self._checked = before


_State = tuple[int, int, int]
