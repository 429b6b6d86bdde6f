"""A version as a file: written beside its place, checked, and only then given its name."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..container.reader import Container
from ..errors import InvalidArgument
from ..fs import NewFile, new_file, storage_errors
from .base_weights import BaseWeights
from .progress import Meter, Progress
from .proving import check_recorded, proven_by_digest
from .reconstruction import Reconstruction, ResultDigest


@dataclass(frozen=True)
class Materialized:
    """A file that was written. `recorded`: its SHA-256 was compared with the one in the container.

    `recorded` is False for a tau below the stored one, of which the container keeps no digest.
    """

    path: Path
    sha256: str
    size: int
    tau: float
    recorded: bool


def write_result(
    container: Container,
    base: BaseWeights,
    output: Path,
    *,
    tau: float | None,
    replace: bool,
    progress: Progress,
) -> Materialized:
    """Write the result at `tau` (default: the stored one) to `output`.

    Raises `Conflict` if `output` exists and `replace` is false, `ResultMismatch`, `BaseMismatch`,
    `ContainerError`, `TauNotServed`, `StorageError`; then nothing is left behind.
    """
    stored = container.header.encoding.tau
    if tau is None or tau == stored:
        with proven_by_digest(container, base) as reconstruction:
            _check_place(output, replace)
            with new_file(output.parent) as file:
                found = _write(reconstruction, file, progress)
                check_recorded(container, found)
                file.publish(output, replace=replace)
        return Materialized(output, found.sha256, found.size, stored, recorded=True)
    reconstruction = Reconstruction(container, base, tau)
    _check_place(output, replace)
    container.check_payload()  # no digest of the result is recorded
    with new_file(output.parent) as file:
        found = _write(reconstruction, file, progress)
        file.publish(output, replace=replace)
    return Materialized(output, found.sha256, found.size, tau, recorded=False)


def _check_place(output: Path, replace: bool) -> None:
    with storage_errors(output):
        if output.exists() and not replace:
            raise FileExistsError(output)
        if output.exists() and not output.is_file():
            raise InvalidArgument(f"{output} is not a plain file", "Give the path of a file.")


def _write(reconstruction: Reconstruction, file: NewFile, progress: Progress) -> ResultDigest:
    digest = hashlib.sha256()
    size = reconstruction.layout().size
    meter = Meter(progress, "materializing", size)
    with contextlib.closing(reconstruction.chunks(file.write_at)) as chunks:
        for chunk in chunks:  # written already, by the thread that made it
            digest.update(chunk)
            meter.advance(len(chunk))
    return ResultDigest(digest.hexdigest(), size)
