"""The originals of versions: the bytes of a source file, an object named by the source's SHA-256.

A LoRA file cannot be made from the container that it is merged into, so a lossless version of it has
its original. It is exported as a file of its own in the folder of the container.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from ... import fs
from ...catalog import VersionRecord
from ...errors import ContainerError, InvalidArgument
from ...hashing import Source, sha256_file
from ...progress import Meter, Progress
from ...ranged_file import as_stream
from ...store import StoredObject
from ..exchange.exported_residual import CONTAINER_SUFFIX
from ..exchange.object_copies import copy_in, copy_out
from ..repository import Repository
from ..results.open_result import open_result
from ..results.result_pool import ResultForm, ResultPool
from .residuals import open_residual

SUFFIX = ".dsvdo"


def keep_original(
    version: VersionRecord, file: Path, repository: Repository, progress: Progress
) -> VersionRecord:
    """Store the source of a version, unless the store has it, and record it for the version.

    Raises `StorageError`, also if `file` is no longer the source.
    """
    sha256 = put_original(version.source, file, repository, progress)
    return repository.catalog.add_original(
        version.model, version.number, confirm=lambda: repository.objects.require(sha256)
    )


def put_original(source: Source, file: Path, repository: Repository, progress: Progress) -> str:
    """Store the source of a version, unless the store has it; gives its SHA-256.

    Raises `StorageError`, also if `file` is no longer the source.
    """
    if not repository.objects.is_whole(source.sha256):
        meter = Meter(progress, "copying the original", source.size)
        copy_in(file, source.sha256, repository.objects, meter)
    return source.sha256


def check_is_file(path: Path) -> None:
    """Raise `InvalidArgument` for the folder of a LoRA, of which no original is kept."""
    if path.is_dir():
        raise InvalidArgument(
            f"{path} is the folder of a LoRA, and lossless keeps a LoRA that is one file",
            "Give the path of the weights in it, or leave lossless out: the layers are stored in full "
            "by default.",
        )


def original_path(file: Path) -> Path:
    """The path of the original that belongs to the container `file`."""
    return file.with_name(file.name.removesuffix(CONTAINER_SUFFIX) + SUFFIX)


def export_original(
    version: VersionRecord, repository: Repository, file: Path, progress: Progress, *, replace: bool
) -> Path | None:
    """Write the original of a version into the folder of its container `file`; gives its path.

    Without an original nothing is written, and with `replace` an older one is removed. Raises as
    `copy_out`.
    """
    path = original_path(file)
    if version.original is None:
        if replace:
            fs.remove_file(path)
        return None
    meter = Meter(progress, "copying the original", version.original.size)
    copy_out(
        version.original.sha256,
        f"the original of {version.ref}",
        repository.objects,
        path,
        meter,
        replace=replace,
    )
    return path


def read_original_file(file: Path, source: Source) -> Path | None:
    """Find and check the original of the container `file`; gives its path, None without one.

    Raises `ContainerError` if the file is not the `source`, `StorageError`.
    """
    path = original_path(file)
    with fs.storage_errors(path):
        if not path.exists():
            return None
    if sha256_file(path) != source.sha256:
        raise ContainerError(
            f"{path} is not the file that {file.name} was made from, whose SHA-256 is {source.sha256}",
            "Get the file again from where it came from. Without it the container can be imported too.",
        )
    return path


def given_back(version: VersionRecord, repository: Repository) -> StoredObject:
    """The SHA-256 and the size of the file that a version gives back: its source, if it is lossless.

    Raises `InvalidArgument` for a version of a folder, `ContainerError`, `RegistryError`.
    """
    if version.original is not None:
        return version.original
    with repository.open_container(version) as container:
        if container.header.tree is not None:
            raise InvalidArgument(
                f"{version.ref} is a folder of several files", "Write it with `dsvd materialize`."
            )
        (result,) = container.header.results
    if version.residual is not None:
        with open_residual(version, version.residual, repository) as residual:
            (result,) = residual.header.results
    return StoredObject(result.sha256, result.size)


def open_given_back(version: VersionRecord, repository: Repository, pool: ResultPool) -> BinaryIO:
    """The file of `given_back`, read-only and seekable. Raises as `open_result`."""
    if version.original is None:
        return io.BufferedReader(open_result(version, None, repository, pool, ResultForm()))
    return as_stream(repository.objects.open_checked(version.original.sha256))


def open_original(version: VersionRecord, repository: Repository, pool: ResultPool) -> BinaryIO:
    """The source of a version, byte for byte; see `Registry.open_original`."""
    if given_back(version, repository).sha256 != version.source.sha256:
        raise InvalidArgument(
            f"{version.ref} does not have the bytes of its source, {version.source.sha256}",
            "`dsvd materialize` writes what it has. --lossless keeps the bytes of safetensors files and "
            "of LoRAs.",
        )
    return open_given_back(version, repository, pool)
