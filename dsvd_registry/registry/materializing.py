"""A version as a file: written beside its place, checked, and only then given its name."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..container.reader import Container
from ..errors import InvalidArgument, ResultMismatch
from ..fs import new_file, storage_errors
from .base_weights import BaseWeights
from .progress import Meter, Progress
from .reconstruction import Reconstruction


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
    reconstruction = Reconstruction(container, base, stored if tau is None else tau)
    with storage_errors(output):
        if output.exists() and not replace:
            raise FileExistsError(output)
        if output.exists() and not output.is_file():
            raise InvalidArgument(f"{output} is not a plain file", "Give the path of a file.")
    if reconstruction.tau != stored:  # of which no digest is recorded
        container.check_payload()
    digest = hashlib.sha256()
    size = reconstruction.layout().size
    meter = Meter(progress, "materializing", size)
    with new_file(output.parent) as file:
        with contextlib.closing(reconstruction.chunks()) as chunks:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                meter.advance(len(chunk))
        found = digest.hexdigest()
        recorded = reconstruction.tau == stored
        expected = container.header.results[0]
        if recorded and (found, size) != (expected.sha256, expected.size):
            raise ResultMismatch(
                f"the result has the SHA-256 {found}, where {expected.sha256} is recorded"
            )
        file.publish(output, replace=replace)
    return Materialized(output, found, size, reconstruction.tau, recorded)
