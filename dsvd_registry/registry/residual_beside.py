"""The residual of a version that travels: a file of its own beside the container's."""

from __future__ import annotations

from pathlib import Path

from .. import fs
from ..catalog import BaseRecord, ResidualRecord, VersionRecord
from ..container.reader import Container
from ..hashing import sha256_file
from ..progress import Meter, Progress
from ..residual.reader import Residual
from ..store import ObjectStore
from .copying import copy_in, copy_out
from .opening import open_base

CONTAINER_SUFFIX, SUFFIX = ".dsvd", ".dsvdr"


def beside(file: Path) -> Path:
    """Where the residual of the container `file` lies."""
    return file.with_name(file.name.removesuffix(CONTAINER_SUFFIX) + SUFFIX)


def write_beside(
    version: VersionRecord, objects: ObjectStore, file: Path, progress: Progress, *, replace: bool
) -> Path | None:
    """Write the residual of a version beside its container; of a lossy one, a former file goes.

    Raises as `copy_out`.
    """
    place = beside(file)
    if version.residual is None:
        if replace:
            fs.remove_file(place)
        return None
    sha256, size = version.residual.sha256, version.residual.size
    meter = Meter(progress, "copying the residual", size)
    copy_out(sha256, f"the residual of {version.ref}", objects, place, meter, replace=replace)
    return place


def take_in_beside(
    file: Path,
    container: Container,
    sha256: str,
    base: BaseRecord,
    objects: ObjectStore,
    progress: Progress,
) -> ResidualRecord | None:
    """Store the residual beside the container `file`, of digest `sha256`; None if there is none.

    What it gives is made once, in memory, before. Raises `ContainerError` for damage and for one of
    another container, `ResultMismatch`, `BaseMismatch`, `StorageError`.
    """
    place = beside(file)
    with fs.storage_errors(place):
        if not place.exists():
            return None
    from ..reconstruction.lossless import Lossless
    from ..reconstruction.proving import proven_by_digest

    with Residual(place) as residual:
        own, size = sha256_file(place), residual.size
        if not objects.is_whole(own):
            with (
                open_base(base, objects) as weights,
                proven_by_digest(container, weights, Lossless(residual, sha256)) as recorded,
            ):
                recorded.check(recorded.made.digests(progress, "checking the residual"))
            copy_in(place, own, objects, Meter(progress, "copying the residual", size))
        elif residual.header.container != sha256:
            return None
    return ResidualRecord(own, size)
