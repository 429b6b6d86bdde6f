"""A version as a file in a cache. The file is named by its content, complete, and never rewritten.

Two processes that need the same file may both make it; each gets a complete one.
"""

from __future__ import annotations

import stat
from pathlib import Path

from ... import canonical
from ...cache import Cache
from ...catalog import VersionRecord
from ...container.reader import Container
from ...container.records import Result
from ...errors import InvalidArgument
from ...fs import make_folder, renew_time, storage_errors
from ...progress import Progress
from ...reconstruction.result_layout import checked_files
from ...tau import checked_tau
from ..repository import Repository
from ..upkeep.residuals import at_tau, open_lossless, open_residual


def cached_file(
    version: VersionRecord,
    tau: float | None,
    cache: Cache,
    repository: Repository,
    progress: Progress,
) -> Path:
    """The file of a version, made if the cache lacks it. `tau`: None for the recorded result.

    Raises `BaseMismatch`, `ContainerError`, `TauNotServed`, `ResultMismatch`, `StorageError`.
    """
    tau = None if tau is None else checked_tau(tau)
    with repository.open_container(version) as container:
        if tau == container.header.encoding.tau:
            version, tau = at_tau(version, tau), None
        path, size = _place(container, version, tau, cache, repository)
    make_folder(cache.folder)
    renew_time(path)  # mark it as used; the time of another user's file may stay as it is
    if _size(path) != size:
        # Only here: a file that is there needs nothing that makes one.
        from ...container.delta_decoder import check_lossy_result
        from ...reconstruction.write_result import write_cached

        with (
            repository.open_version(version) as (container, weights),
            open_lossless(at_tau(version, tau), repository) as lossless,
        ):
            if lossless is None:
                check_lossy_result(container.header)
            cache.remove_abandoned()
            cache.make_room(path, coming=size)
            write_cached(container, weights, tau, lossless, path, size, progress)
    cache.make_room(path)
    return path


def _place(
    container: Container,
    version: VersionRecord,
    tau: float | None,
    cache: Cache,
    repository: Repository,
) -> tuple[Path, int]:
    """The path of the file in the cache, and its size in bytes."""
    header = container.header
    if header.tree is not None:
        raise InvalidArgument(
            f"{version.ref} is a folder, and the cache holds single files only",
            "Write it with `dsvd materialize`, or use `dsvd_registry.runtime`.",
        )
    if tau is None:
        (result,) = header.results if version.residual is None else _of_source(version, repository)
        return cache.path_of(result.sha256), result.size
    # The result at a lower tau has no recorded SHA-256.
    path = cache.path_of(version.container, canonical.encode(tau).decode())
    (file,) = checked_files(container, tau)
    return path, file.size


def _of_source(version: VersionRecord, repository: Repository) -> tuple[Result, ...]:
    assert version.residual is not None
    with open_residual(version, version.residual, repository) as residual:
        return residual.header.results


def _size(path: Path) -> int | None:
    """The size of a plain file in bytes; None if there is none."""
    with storage_errors(path):
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
