"""The residual of a version that travels: a file of its own beside the container's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import fs
from ..catalog import BaseRecord, ResidualRecord, VersionRecord
from ..container.reader import Container
from ..errors import ContainerError, ResultMismatch, UnsupportedFeature
from ..hashing import sha256_file
from ..progress import Meter, Progress
from ..residual.reader import Residual
from .fingerprint import unchanging
from .object_copies import copy_in, copy_out
from .repository import Repository

CONTAINER_SUFFIX, SUFFIX = ".dsvd", ".dsvdr"
WITHOUT_IT = (
    "Get it again from where it came from. Without that file beside it the container comes in, too: "
    "as a lossy version."
)


def beside(file: Path) -> Path:
    """Where the residual of the container `file` lies."""
    return file.with_name(file.name.removesuffix(CONTAINER_SUFFIX) + SUFFIX)


def write_beside(
    version: VersionRecord, repository: Repository, file: Path, progress: Progress, *, replace: bool
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
    copy_out(
        sha256, f"the residual of {version.ref}", repository.objects, place, meter, replace=replace
    )
    return place


@dataclass(frozen=True)
class Beside:
    """A residual beside a container that comes in; it was seen to give its source."""

    place: Path
    record: ResidualRecord

    def take_in(self, repository: Repository, progress: Progress) -> None:
        """Store it, unless it is there. Raises `StorageError`, also where it is another file now."""
        sha256, size = self.record.sha256, self.record.size
        if not repository.objects.is_whole(sha256):
            copy_in(
                self.place,
                sha256,
                repository.objects,
                Meter(progress, "copying the residual", size),
            )


def proven_beside(
    file: Path,
    container: Container,
    sha256: str,
    base: BaseRecord,
    repository: Repository,
    progress: Progress,
) -> Beside | None:
    """The residual beside the container `file`, of digest `sha256`; None if there is none.

    What it gives is made once, in memory. Raises `ContainerError` for damage and for one of another
    container, `ResultMismatch`, `BaseMismatch`, `StorageError`.
    """
    place = beside(file)
    with fs.storage_errors(place):
        if not place.exists():
            return None
    from ..reconstruction.lossless import Lossless
    from ..reconstruction.recorded_digest import proven_by_digest

    try:
        with unchanging(place), Residual(place) as residual, repository.open_base(base) as weights:
            record = ResidualRecord(sha256_file(place), residual.size)
            with proven_by_digest(container, weights, Lossless(residual, sha256)) as recorded:
                recorded.check(recorded.made.digests(progress, "checking the residual"))
    except UnsupportedFeature:
        raise
    except ContainerError as error:
        raise ContainerError(str(error), WITHOUT_IT) from error
    except ResultMismatch as error:
        raise ResultMismatch(f"{place}: {error}", WITHOUT_IT) from error
    return Beside(place, record)
