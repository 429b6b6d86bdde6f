"""The files of a folder without tensors, read from the container or from the base."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ..checkpoint.tree import ListedFile
from ..container.reader import Container
from ..container.records import KeptFile
from ..errors import BaseMismatch, ContainerError
from ..fs import Bytes, storage_errors
from .base_weights import BaseReader

CHUNK = 1 << 20


def kept_files(container: Container) -> tuple[KeptFile, ...]:
    """The files without tensors in the container's tree; none for a single file."""
    return tuple(file for file in container.header.tree or () if isinstance(file, KeptFile))


def kept_chunks(file: KeptFile, container: Container, base: BaseReader) -> Iterator[Bytes]:
    """Yield the bytes of a file in chunks, and check their SHA-256 at the end.

    If it is wrong, raises `BaseMismatch` for a file of the base, `ContainerError` for a stored one.
    """
    digest, size = hashlib.sha256(), 0
    for chunk in _of_base(file, base) if file.of_base else _stored(file, container):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    is_recorded = digest.hexdigest() == file.sha256
    if is_recorded and size == file.size:
        return
    if file.of_base and not is_recorded:
        raise BaseMismatch(
            f"the base's file {file.path} was changed: its SHA-256 is not {file.sha256}",
            "Restore that file, or add the base again with `dsvd base add`.",
        )
    raise ContainerError(f"{container.path}: file {file.path!r} is not the recorded one")


def check_base_has(container: Container, base: BaseReader) -> None:
    """Check that the base has all files that the container needs. Raises `BaseMismatch`."""
    for file in kept_files(container):
        if file.of_base and base.kept_file(file.sha256) is None:
            raise BaseMismatch(
                f"the base has no file with the SHA-256 {file.sha256}, which {file.path} needs",
                "Add the base again, as the folder that it was: `dsvd base add NAME FOLDER`.",
            )


def file_chunks(file: ListedFile, place: Path) -> Iterator[Bytes]:
    """Yield the bytes of a file on disk in chunks, and check their SHA-256 at the end.

    Raises `StorageError`, and `BaseMismatch` if the SHA-256 is not the listed one.
    """
    digest = hashlib.sha256()
    for chunk in _read(place):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != file.sha256:
        raise BaseMismatch(f"{place} was changed: its SHA-256 is not {file.sha256}")


def _stored(file: KeptFile, container: Container) -> Iterator[Bytes]:
    tree = container.header.tree or ()
    yield from container.stored_file(tree.index(file))


def _of_base(file: KeptFile, base: BaseReader) -> Iterator[Bytes]:
    place = base.kept_file(file.sha256)
    if place is not None:
        yield from _read(place)


def _read(place: Path) -> Iterator[Bytes]:
    with storage_errors(place), place.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            yield chunk
