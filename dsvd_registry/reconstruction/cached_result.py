"""Writing of a result into a cache, where it gets its name only after it was checked."""

from __future__ import annotations

from pathlib import Path

from ..container.reader import Container
from ..fs import NewFile, new_file
from ..progress import Meter, Progress
from .base_weights import BaseWeights
from .file_plan import plan_of
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
    """Write the result at `tau`, of `size` bytes, to `path` as a read-only file.

    `tau`: None for the recorded result. An existing file is replaced: another process may have
    written the same result in the meantime, and readers keep the file that they opened. Raises as
    `write_result`; `path` then stays as it was.
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
    meter = Meter(progress, "materializing", only.size)
    return fill(file, plan_of(reconstruction, only), meter)
