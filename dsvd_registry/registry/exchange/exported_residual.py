"""The residual of an exported version: a file of its own in the folder of the container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import fs
from ...catalog import BaseRecord, ResidualRecord, VersionRecord
from ...container.reader import Container
from ...errors import ContainerError, ResultMismatch, UnsupportedFeature
from ...hashing import sha256_file
from ...progress import Meter, Progress
from ...residual.reader import Residual
from ..adding.fingerprint import unchanging
from ..repository import Repository
from .object_copies import copy_in, copy_out

CONTAINER_SUFFIX, SUFFIX = ".dsvd", ".dsvdr"
HINT = (
    "Get the file again from where it came from. Without it the container can be imported too, as a "
    "lossy version."
)


def residual_path(file: Path) -> Path:
    """The path of the residual that belongs to the container `file`."""
    return file.with_name(file.name.removesuffix(CONTAINER_SUFFIX) + SUFFIX)


def export_residual(
    version: VersionRecord, repository: Repository, file: Path, progress: Progress, *, replace: bool
) -> Path | None:
    """Write the residual of a version into the folder of its container `file`; gives its path.

    For a lossy version, nothing is written, and with `replace` an older residual is removed. Raises
    as `copy_out`.
    """
    path = residual_path(file)
    if version.residual is None:
        if replace:
            fs.remove_file(path)
        return None
    sha256, size = version.residual.sha256, version.residual.size
    meter = Meter(progress, "copying the residual", size)
    copy_out(
        sha256, f"the residual of {version.ref}", repository.objects, path, meter, replace=replace
    )
    return path


@dataclass(frozen=True)
class ResidualFile:
    """A residual file to import, which was checked to give its source.

    `source_digests`: those of the source's files, by path and kind; none of a source of which the
    tensors come back and not the bytes.
    """

    path: Path
    record: ResidualRecord
    source_digests: Mapping[str, Mapping[str, str]]

    def store(self, repository: Repository, progress: Progress) -> None:
        """Store the residual unless the store has it.

        Raises `StorageError`, also if the file was changed after the check.
        """
        sha256, size = self.record.sha256, self.record.size
        if not repository.objects.is_whole(sha256):
            copy_in(
                self.path,
                sha256,
                repository.objects,
                Meter(progress, "copying the residual", size),
            )


def read_residual_file(
    file: Path,
    container: Container,
    sha256: str,
    base: BaseRecord,
    repository: Repository,
    progress: Progress,
) -> ResidualFile | None:
    """Find and check the residual file of the container `file` with this SHA-256; None without one.

    The source is reconstructed once, in memory. Raises `ContainerError` if the file is damaged or
    belongs to another container, `ResultMismatch`, `BaseMismatch`, `StorageError`.
    """
    path = residual_path(file)
    with fs.storage_errors(path):
        if not path.exists():
            return None
    from ...reconstruction.lossless import Lossless
    from ...reconstruction.recorded_digest import kinds_by_path, proven_by_digest

    try:
        with unchanging(path), Residual(path) as residual, repository.open_base(base) as weights:
            record = ResidualRecord(sha256_file(path), residual.size)
            with proven_by_digest(container, weights, Lossless(residual, sha256)) as recorded:
                digests = recorded.made.full_digests(progress, "checking the residual")
                recorded.check(digests)
    except UnsupportedFeature:
        raise
    except ContainerError as error:
        raise ContainerError(str(error), HINT) from error
    except ResultMismatch as error:
        raise ResultMismatch(f"{path}: {error}", HINT) from error
    header = container.header
    kinds = kinds_by_path(header, digests) if header.keeps_files else {}
    return ResidualFile(path, record, kinds)
