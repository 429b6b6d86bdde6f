"""The files of a folder that hold no tensors: from the container, or from the base."""

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
    """Those of the container's tree, by path; none of a single file."""
    return tuple(file for file in container.header.tree or () if isinstance(file, KeptFile))


def kept_chunks(file: KeptFile, container: Container, base: BaseReader) -> Iterator[Bytes]:
    """The bytes of a file, a run at a time.

    Raises `ContainerError`, or `BaseMismatch` for one that the base should have, and has not: at
    the end, where the SHA-256 of all that was given is another one.
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
    raise ContainerError(f"{container.path}: file {file.path!r} is not the one that is recorded")


def check_base_has(container: Container, base: BaseReader) -> None:
    """Raises `BaseMismatch` for the first file that is wanted of the base, and that it has not."""
    for file in kept_files(container):
        if file.of_base and base.kept_file(file.sha256) is None:
            raise BaseMismatch(
                f"the base has no file of the SHA-256 {file.sha256}, wanted as {file.path}",
                "Add the base again, as the folder that it was: `dsvd base add NAME FOLDER`.",
            )


def file_chunks(file: ListedFile, place: Path) -> Iterator[Bytes]:
    """The bytes of a file on disk, a run at a time.

    Raises `StorageError`, and `BaseMismatch` at the end if they are not those that are listed.
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
