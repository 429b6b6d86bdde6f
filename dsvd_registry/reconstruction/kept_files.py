"""The files of a folder without tensors: stored in the container, those of the base, or listed ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..checkpoint.checkpoint import Copier, Memory
from ..checkpoint.mapping import MappedFile
from ..checkpoint.tree import ListedFile
from ..container.reader import Container
from ..container.records import KeptFile
from ..errors import BaseMismatch, ContainerError
from ..fs import storage_errors
from ..hashing import sha256_file
from .base_weights import BaseReader
from .checked_bytes import Mismatch, checked_copier
from .file_plan import STORED_RUN, FilePlan, Run


def kept_files(container: Container) -> tuple[KeptFile, ...]:
    """The files without tensors in the container's tree; none for a single file."""
    return tuple(file for file in container.header.tree or () if isinstance(file, KeptFile))


def check_base_has(container: Container, base: BaseReader) -> None:
    """Check that the base has all files that the container needs. Raises `BaseMismatch`."""
    for file in kept_files(container):
        if file.of_base and base.kept_file(file.sha256) is None:
            raise BaseMismatch(
                f"the base has no file with the SHA-256 {file.sha256}, which {file.path} needs",
                "Add the base again, as the folder that it was: `dsvd base add NAME FOLDER`.",
            )


def kept_plan(file: KeptFile, container: Container, base: BaseReader) -> FilePlan:
    """The plan of one of the container's `kept_files`; a file of the base is open from here on.

    Reading it raises `BaseMismatch` for changed bytes of the base, `ContainerError` for stored ones.
    Raises `BaseMismatch` for a file of the base that has another size by now, and `ContainerError`
    if the container is wrong about the size.
    """
    if file.of_base:
        place = base.kept_file(file.sha256)
        assert place is not None  # by `check_base_has`
        _check_size(file, place, container)
        return _recorded(
            file,
            MappedFile(place).copy if file.size else _nothing,
            lambda _: _changed(file),
        )
    number = (container.header.tree or ()).index(file)
    return _recorded(
        file,
        lambda first, memory: container.file_range(number, first, memory),
        lambda _: ContainerError(f"{container.name}: file {file.path!r} is not the recorded one"),
    )


def _check_size(file: KeptFile, place: Path, container: Container) -> None:
    """Compare the size of a file of the base with the recorded one, before it is believed."""
    with storage_errors(place):
        size = place.stat().st_size
    if size == file.size:
        return
    if sha256_file(place) != file.sha256:
        raise _changed(file)
    raise ContainerError(
        f"{container.name}: the base's file {file.path!r} has {size} bytes, "
        f"where {file.size} are recorded"
    )


def _changed(file: KeptFile) -> BaseMismatch:
    return BaseMismatch(
        f"the base's file {file.path} was changed: its SHA-256 is not {file.sha256}",
        "Restore that file, or add the base again with `dsvd base add`.",
    )


def listed_plan(file: ListedFile, place: Path) -> FilePlan:
    """The plan of a file on disk, which is open from here on.

    Reading it raises `StorageError`, and `BaseMismatch` if its SHA-256 is not the listed one.
    """
    return _recorded(
        file,
        MappedFile(place).copy if file.size else _nothing,
        lambda _: BaseMismatch(f"{place} was changed: its SHA-256 is not {file.sha256}"),
    )


def _recorded(file: KeptFile | ListedFile, copy: Copier, mismatch: Mismatch) -> FilePlan:
    made = _RecordedFile(copy, file.size, file.sha256, mismatch)
    return FilePlan(file.path, b"", {file.path: file.size}, lambda _: made)


def _nothing(_first: int, _memory: Memory) -> None:
    """Copy no bytes: an empty file cannot be mapped."""


class _RecordedFile:
    """The bytes of a file with a recorded SHA-256, planned in runs as a tensor is."""

    prepared_bytes = 0

    def __init__(self, copy: Copier, size: int, sha256: str, mismatch: Mismatch) -> None:
        self._copy, self._size = copy, size
        self._sha256, self._mismatch = sha256, mismatch
        self._checked = copy

    def prepare(self) -> None:
        self._checked = checked_copier(self._copy, self._size, self._sha256, self._mismatch)

    def runs(self) -> Iterator[Run]:
        for first in range(0, self._size, STORED_RUN):
            end = min(self._size, first + STORED_RUN)
            yield Run(first, end, end - first, is_stored=True)

    def fill(self, run: Run, memory: Memory) -> None:
        self._checked(run.first, memory)

    def release(self) -> None:
        """Do nothing: no memory is taken."""
