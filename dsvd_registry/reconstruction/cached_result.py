"""A result written into a cache, checked before it has a name there."""

from __future__ import annotations

from pathlib import Path

from ..container.reader import Container
from ..fs import NewFile, new_file
from ..progress import Meter, Progress
from .base_weights import BaseWeights
from .lossless import Lossless
from .reconstruction import Reconstruction, ResultDigest
from .recorded_digest import proven_by_digest
from .write_result import fill


def write_cached(
    container: Container,
    base: BaseWeights,
    tau: float | None,
    lossless: Lossless | None,
    path: Path,
    size: int,
    progress: Progress,
) -> None:
    """Write the result at `tau` (None: as it is on record), of `size` bytes, to `path`, read-only.

    It takes the place of what is there.

    What a quicker process has put there is the same, and whoever has that open keeps it.
    Raises as `write_result` in materializing.py; then `path` is as it was.
    """
    with new_file(path.parent, size) as file:
        if tau is None:
            with proven_by_digest(container, base, lossless) as recorded:
                recorded.check([_filled(file, recorded.made, progress)])
        else:
            reconstruction = Reconstruction(container, base, tau)
            container.check_payload()  # no digest of the result is recorded
            _filled(file, reconstruction, progress)
        file.publish(path, replace=True, read_only=True)


def _filled(file: NewFile, reconstruction: Reconstruction, progress: Progress) -> ResultDigest:
    (only,) = reconstruction.files
    return fill(file, reconstruction, only, Meter(progress, "materializing", only.size))
