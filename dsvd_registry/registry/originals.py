"""The originals of versions: the bytes of a source file, an object named by the source's SHA-256.

A LoRA file cannot be made from the container that it is merged into, so a lossless version of it has
its original. It is exported as a file of its own in the folder of the container.
"""

from __future__ import annotations

from pathlib import Path

from .. import fs
from ..catalog import VersionRecord
from ..errors import ContainerError, InvalidArgument
from ..hashing import Source, sha256_file
from ..progress import Meter, Progress
from .exported_residual import CONTAINER_SUFFIX
from .object_copies import copy_in, copy_out
from .repository import Repository

SUFFIX = ".dsvdo"


def keep_original(
    version: VersionRecord, file: Path, repository: Repository, progress: Progress
) -> VersionRecord:
    """Store the source of a version, unless the store has it, and record it for the version.

    Raises `StorageError`, also if `file` is no longer the source.
    """
    sha256 = version.source.sha256
    if not repository.objects.is_whole(sha256):
        meter = Meter(progress, "copying the original", version.source.size)
        copy_in(file, sha256, repository.objects, meter)
    return repository.catalog.add_original(
        version.model, version.number, confirm=lambda: repository.objects.path(sha256)
    )


def check_is_file(path: Path) -> None:
    """Raise `InvalidArgument` for the folder of a LoRA, of which no original is kept."""
    if path.is_dir():
        raise InvalidArgument(
            f"{path} is the folder of a LoRA, and lossless keeps a LoRA that is one file",
            "Give the path of the weights in it, or leave lossless out: the layers are stored in full "
            "by default.",
        )


def drop_original(version: VersionRecord, repository: Repository) -> tuple[VersionRecord, int]:
    """Drop the original of a version; gives the bytes that `gc` can free too. Raises `NotFound`."""
    catalog, original = repository.catalog, version.original
    dropped = catalog.remove_original(version.model, version.number)
    is_needed = any(original == other.original for other in catalog.versions())
    return dropped, 0 if original is None or is_needed else original.size


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
