"""Copies of objects out of the store and of files into it, hashed on the way."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import RegistryError, StorageError
from ...fs import Bytes, new_file
from ...hashing import file_chunks
from ...progress import Meter
from ...store import ObjectStore


def copy_out(
    sha256: str,
    description: str,
    objects: ObjectStore,
    output: Path,
    meter: Meter,
    *,
    replace: bool,
) -> None:
    """Write a copy of an object to `output`; `description` names it in errors.

    Raises `Conflict` if `output` exists and `replace` is false, `RegistryError` for a damaged object,
    `StorageError`; then nothing is left behind.
    """
    objects.require(sha256)
    with new_file(output.parent) as file, contextlib.closing(objects.chunks(sha256)) as chunks:
        actual = _copy(chunks, file.write, meter)
        if actual != sha256:
            raise RegistryError(
                f"object {sha256}, {description}, is damaged: its bytes have the SHA-256 {actual}",
                "Restore it from a copy, or add its source again.",
            )
        file.publish(output, replace=replace)


def copy_in(file: Path, sha256: str, objects: ObjectStore, meter: Meter) -> None:
    """Put a file with this SHA-256 into the store.

    Raises `StorageError`, also if the file was changed since it was hashed.
    """
    with objects.new_object() as writer, contextlib.closing(file_chunks(file)) as chunks:
        if _copy(chunks, writer.write, meter) != sha256:
            raise StorageError(
                f"{file} was changed while it was read", "Run it again when the file is complete."
            )
        writer.commit()


def _copy(chunks: Iterable[Bytes], write: Callable[[Bytes], None], meter: Meter) -> str:
    """Pass all chunks to `write`; gives the SHA-256 of their bytes."""
    digest = hashlib.sha256()
    for chunk in chunks:
        write(chunk)
        digest.update(chunk)
        meter.advance(len(chunk))
    return digest.hexdigest()
